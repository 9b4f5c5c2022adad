"""The x402 extension ``payment-identifier``: an idempotency key inside the payment.

Source: x402 specification v2, extensions/payment-identifier.
"""

from __future__ import annotations

import re
from typing import Any

from facilitator.strict import Fields

NAME = "payment-identifier"

_ID = re.compile(r"[A-Za-z0-9_-]{16,128}")

DECLARATION: dict[str, Any] = {
    NAME: {
        "info": {"required": False},
        "schema": {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": {
                "required": {"type": "boolean"},
                "id": {"type": "string", "minLength": 16, "maxLength": 128, "pattern": "^[a-zA-Z0-9_-]+$"},
            },
            "required": ["required"],
        },
    }
}
"""What a challenge says under ``extensions``: an id is welcome."""


def identifier_in(payment: Fields) -> str | None:
    """The id a client added; MalformedPayment for one that is none. A mere echo carries no id."""
    found: Any = payment.get("extensions")
    for step in (NAME, "info", "id"):
        found = found.get(step) if isinstance(found, dict) else None
    if found is None:
        return None
    if not isinstance(found, str) or not _ID.fullmatch(found):
        raise payment.wrong("extensions", "payment-identifier: 16 to 128 letters, digits, _ and -")
    return found

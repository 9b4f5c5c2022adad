"""How CONXA fails for a while, by the name a plan has for it. The gateway waits a second for an answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.devconxa.faults import Endpoint, Kind, Rule

MOSTLY = 0.7
"""How likely it strikes."""


def _rule(on: Endpoint, kind: Kind, **more: Any) -> Rule:
    return Rule(on=on, kind=kind, probability=MOSTLY, **more)


ENDS_SESSIONS = "ends every session"
"""No rule, but something that befalls the wallets; they are connected as before when it is over."""
CONXA_FAULTS: Mapping[str, Rule] = {
    "charges and hangs": _rule("charge", "hang_after"),
    "charges and resets": _rule("charge", "reset_after"),
    "charges and is broken": _rule("charge", "status_after"),
    "charges and talks nonsense": _rule("charge", "garbage"),
    "charges slowly": _rule("charge", "slow", seconds=1.4),
    "hangs": _rule("charge", "hang_before"),
    "resets": _rule("charge", "reset_before"),
    "is a bad gateway": _rule("charge", "status_before", code=502),
    "is busy": _rule("charge", "rate_limit", retry_after=1),
    "tells nothing of sessions": _rule("status", "status_before", code=503),
    "hangs about sessions": _rule("status", "hang_before"),
}

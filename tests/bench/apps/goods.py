"""What the official middlewares sell, and for how much: as they are told it."""

from __future__ import annotations

from x402.http import PaymentOption
from x402.http.types import RouteConfig

NETWORK = "eip155:84532"
PATH = "/v1/1k"
GOODS = b"x" * 1024


def priced(pay_to: str) -> dict[str, RouteConfig]:
    """A cent in test USDC."""
    option = PaymentOption(scheme="exact", pay_to=pay_to, price="$0.01", network=NETWORK)
    return {f"GET {PATH}": RouteConfig(accepts=[option], description="", mime_type="text/plain")}

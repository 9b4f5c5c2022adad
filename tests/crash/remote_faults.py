"""How a facilitator fails for a while, by the name a plan has for it."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from standins.facilitator import (
    HTML,
    HUGE,
    Behaviour,
    Exchange,
    done_then,
    hang,
    honest,
    redirect,
    reset,
    say,
    slow,
    twisted,
)

MOSTLY = 0.7
"""How likely it strikes."""
STRAY = "0x" + "ab" * 32


def _mostly(behaviour: Behaviour) -> Behaviour:
    async def answer(exchange: Exchange) -> Any:
        return await (behaviour if random.random() < MOSTLY else honest)(exchange)

    return answer


def _settle(behaviour: Behaviour) -> tuple[str, Behaviour]:
    return "/settle", _mostly(behaviour)


def _no(reason: str, transaction: str = "") -> Behaviour:
    return say({"success": False, "errorReason": reason, "transaction": transaction})


IS_DOWN = "is down"
REMOTE_FAULTS: Mapping[str, tuple[str, Behaviour]] = {
    "settles and resets": _settle(done_then(reset)),
    "settles and hangs": _settle(done_then(hang)),
    "settles and is broken": _settle(done_then(say({"error": "internal"}, 500))),
    "settles and talks nonsense": _settle(done_then(HTML)),
    "settles and redirects": _settle(done_then(redirect)),
    "settles and says no": _settle(done_then(_no("insufficient_funds"))),
    "settles and says another hash": _settle(twisted(transaction=STRAY)),
    "settles and says pending": _settle(twisted(success=False, errorReason="settlement_pending")),
    "settles slowly": _settle(slow(1.4)),
    "claims what it did not do": _settle(
        say({"success": True, "transaction": STRAY, "network": "eip155:84532"})
    ),
    "hangs": _settle(hang),
    "resets": _settle(reset),
    "is busy": _settle(say({"error": "slow down"}, 429)),
    "sends megabytes": _settle(HUGE),
    "says pending for ever": _settle(_no("settlement_pending", STRAY)),
    "verifies nothing": ("/verify", _mostly(reset)),
    "hangs about verdicts": ("/verify", _mostly(hang)),
}

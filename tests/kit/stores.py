"""Claims and steps for tests of whatever keeps payments."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

from gateway.payment import Caps, Claim, Claimed, Instance, State, allowed_from
from gateway.store import Step, Store

HERE = Instance("here", slot="host:1", run="r1", number=0, process="p1")
THERE = Instance("there", slot="host:2", run="r2", number=0, process="p2")


def make_claim(**changes: Any) -> Claim:
    """A claim nobody made before."""
    unique = uuid4().hex
    fields: dict[str, Any] = {
        "replay_key": f"eip155:84532:usdc:0xpayer:{unique}",
        "digest": unique * 2,
        "rail": "x402",
        "route": "GET /paid",
        "payer": "0xpayer",
        "amount": 10_000,
        "asset": "0xusdc",
        "network": "eip155:84532",
        "purse": f"purse:{unique}",
        "queue": f"queue:{unique}",
        "terms": b'{"terms":\n1}\x00\xff',
        "expires_at": 2_000_000_000,
    }
    return Claim(**(fields | changes))


def step(to: State, **changes: Any) -> Step:
    """A step as the table of transitions allows it, in flight until it is final."""
    final = to in (State.SETTLED, State.REFUSED, State.RELEASED)
    fields: dict[str, Any] = {"to": to, "since": allowed_from(to), "in_flight": not final}
    return Step(**(fields | changes))


async def arrive(store: Store, *names: str) -> None:
    """Instances of these names, each on a slot of its own."""
    for name in names:
        await store.arrive(Instance(name, slot=f"slot of {name}", run="r", number=0, process="p"))


async def claimed(
    store: Store,
    claim: Claim,
    *,
    by: str = HERE.name,
    lease: float = 10.0,
    max_attempts: int = 5,
    caps: Caps | None = None,
) -> Claimed:
    """Reserve, which must succeed. An instance must have arrived for its lease to be live: ``HERE`` does,
    in a store that knows nobody yet."""
    if by == HERE.name and not await store.instances():
        await store.arrive(HERE)
    outcome = await store.reserve(claim, by=by, lease=lease, max_attempts=max_attempts, caps=caps)
    assert isinstance(outcome, Claimed), outcome
    return outcome


async def settle(
    store: Store, claim: Claim, answer: bytes | None = None, by: str = HERE.name, **changes: Any
) -> Claimed:
    """Reserve, serve, settle."""
    mine = await claimed(store, claim, by=by)
    assert await store.advance(mine.lease, step(State.SERVED, answer=answer, queued=True, keep_lease=True))
    assert await store.advance(mine.lease, step(State.SETTLING, keep_lease=True))
    assert await store.advance(mine.lease, step(State.SETTLED, queued=False, **changes))
    return mine


async def eventually(look: Callable[[], Awaitable[object]], expected: object) -> None:
    """What housekeeping, once a second, brings about."""
    until = time.monotonic() + 5
    while (found := await look()) != expected:
        assert time.monotonic() < until, found
        await asyncio.sleep(0.05)


def milliseconds_from_now(seconds: float) -> int:
    """A ``forget_at``."""
    return int((time.time() + seconds) * 1000)

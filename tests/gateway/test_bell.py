"""A wait that work ends, or time."""

from __future__ import annotations

import asyncio

from gateway.bell import Bell


async def test_who_serves_a_queue_is_woken_by_a_bell() -> None:
    """Also by one that rang before it was listened for; else after a while."""
    bell = Bell()
    bell.ring()
    await bell.heard(60.0)
    listening = asyncio.ensure_future(bell.heard(60.0))
    await asyncio.sleep(0)
    assert not listening.done()
    bell.ring()
    await listening
    await bell.heard(0.001)

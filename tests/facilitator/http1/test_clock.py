"""A deadline that moves."""

from __future__ import annotations

import asyncio
import math

from facilitator.http1.clock import Clock


async def test_it_fires_where_the_deadline_is_by_then() -> None:
    loop = asyncio.get_running_loop()
    fired: list[float] = []
    clock = Clock(loop, lambda: fired.append(loop.time()))
    begun = loop.time()
    clock.move(begun + 0.01)
    clock.move(begun + 0.04)
    await asyncio.sleep(0.02)
    assert not fired
    await asyncio.sleep(0.04)
    assert len(fired) == 1 and fired[0] >= begun + 0.039


async def test_it_can_come_sooner_never_or_again() -> None:
    loop = asyncio.get_running_loop()
    fired: list[float] = []
    clock = Clock(loop, lambda: fired.append(loop.time()))
    clock.move(loop.time() + 9)
    clock.move(loop.time() + 0.01)
    await asyncio.sleep(0.02)
    assert len(fired) == 1
    clock.move(loop.time() + 0.01)
    clock.move(math.inf)
    await asyncio.sleep(0.02)
    assert len(fired) == 1
    clock.move(loop.time() + 0.01)
    clock.stop()
    await asyncio.sleep(0.02)
    assert len(fired) == 1

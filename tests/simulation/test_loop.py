"""The loop of one history, at its end."""

from __future__ import annotations

import asyncio
from random import Random

from simulation.loop import Domain, VirtualLoop


def test_what_a_dead_process_left_behind_is_taken_down_from_the_outside_in() -> None:
    """Not before the end, and not by the garbage collector."""
    loop, process, seen = VirtualLoop(Random(1)), Domain("gateway"), []

    async def inner() -> None:
        try:
            await loop.create_future()
        finally:
            seen.append("inner")

    async def outer() -> None:
        try:
            await inner()
        finally:
            seen.append("outer")
            await loop.create_future()

    async def history() -> None:
        loop.spawn(process, outer())
        await asyncio.sleep(1)
        loop.kill(process)
        await asyncio.sleep(1)

    loop.run(history(), 10)
    assert seen == []
    loop.end()
    assert seen == ["inner", "outer"]

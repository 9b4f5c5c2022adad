"""All lanes of a run at once, on one chain."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from crash.lane import Lane
from crash.plan import Options, plan
from crash.report import Report
from kit.anvil import Anvil


async def run(
    seed: int, count: int, stores: Sequence[str], options: Options, folder: Path, report: Report
) -> None:
    """Play ``count`` cycles; what comes of them goes to ``report``."""
    with Anvil(block_time=1) as anvil:
        anvil.place_token()
        lanes = []
        for store, cycles in plan(seed, count, stores, options).items():
            place = folder / store
            place.mkdir(parents=True, exist_ok=True)
            lanes.append(Lane(store, cycles, anvil, place, report.cycle, report.ended))
        report.lanes = lanes
        async with asyncio.TaskGroup() as group:
            for lane in lanes:
                group.create_task(lane.run())

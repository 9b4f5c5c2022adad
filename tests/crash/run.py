"""All lanes of a run at once, on one rail."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from crash.lane import Lane
from crash.plan import Options, plan
from crash.rail import Kind
from crash.report import Report


async def run(
    kind: Kind,
    seed: int,
    count: int,
    stores: Sequence[str],
    options: Options,
    folder: Path,
    report: Report,
) -> None:
    """Play ``count`` cycles; what comes of them goes to ``report``."""
    with kind.opened() as new_rail:
        lanes = []
        for store, cycles in plan(seed, count, stores, options).items():
            place = folder / store
            place.mkdir(parents=True, exist_ok=True)
            lanes.append(Lane(store, cycles, new_rail(), place, report.cycle, report.ended))
        report.lanes = lanes
        async with asyncio.TaskGroup() as group:
            for lane in lanes:
                group.create_task(lane.run())

"""A short run of ``make crash``: a dozen deaths on both stores, and nothing lost."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

from crash.plan import STORES, Options, plan
from crash.report import Report
from crash.run import run

POINTS = ("K1", "K3", "K6", "K7", "K8", "K9", "K10", "random")


def test_a_dozen_deaths_lose_nothing(tmp_path: Path) -> None:
    printed = io.StringIO()
    report = Report(11, tmp_path, printed)
    options = Options(points=POINTS, errands=5, stops=False)

    asyncio.run(run(11, 12, STORES, options, tmp_path, report))

    assert report.finish() == 0, printed.getvalue()
    told = [each for lane in report.lanes for each in lane.told]
    assert {each.cycle.point for each in told} == set(POINTS) and len(told) == 12
    assert sum(each.reached for each in told) >= 6, printed.getvalue()
    answered = [want for lane in report.lanes for want in lane.wants if want.ended == "answered"]
    assert len(answered) >= 20, printed.getvalue()


def test_a_seed_is_a_plan() -> None:
    once = plan(5, 40, STORES, Options())
    assert once == plan(5, 40, STORES, Options()) != plan(6, 40, STORES, Options())
    assert [len(cycles) for cycles in once.values()] == [20, 20]

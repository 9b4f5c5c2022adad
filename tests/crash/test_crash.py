"""Short runs of ``make crash``: deaths on both stores, by either rail, and nothing lost."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Sequence
from pathlib import Path

from crash.plan import STORES, Options, plan
from crash.rails import RAILS
from crash.report import Report
from crash.run import run

POINTS = ("K1", "K3", "K6", "K7", "K8", "K9", "K10", "random")


def played(
    rail: str, seed: int, count: int, options: Options, folder: Path, stores: Sequence[str] = STORES
) -> Report:
    """A run that found nothing."""
    printed = io.StringIO()
    report = Report(seed, folder, printed)

    asyncio.run(run(RAILS[rail], seed, count, stores, options, folder, report))

    assert report.finish() == 0, printed.getvalue()
    told = [each for lane in report.lanes for each in lane.told]
    assert {each.cycle.point for each in told} == set(options.points) and len(told) == count
    assert sum(each.reached for each in told) >= count / 2, printed.getvalue()
    return report


def answered(report: Report) -> int:
    return sum(want.ended == "answered" for lane in report.lanes for want in lane.wants)


def test_eight_deaths_lose_nothing(tmp_path: Path) -> None:
    faults = RAILS["x402"].faults
    options = Options(points=POINTS, faults=faults, fault_rate=0.12, errands=5, stops=False)
    assert answered(played("x402", 11, 8, options, tmp_path)) >= 14


def test_half_a_dozen_deaths_charge_every_wallet_once(tmp_path: Path) -> None:
    faults = ("charges and hangs", "charges and resets", "is busy")
    options = Options(points=POINTS[2:], faults=faults, fault_rate=0.5, errands=5, stops=False)
    report = played("conxa", 3, 6, options, tmp_path)
    assert answered(report) >= 12
    assert all("CONXA answered" in lane.rail_told for lane in report.lanes)


def test_a_few_deaths_and_a_facilitator_that_lies(tmp_path: Path) -> None:
    faults = ("settles and resets", "settles and says no", "claims what it did not do", "is busy")
    points = ("K6", "K7", "K8")
    options = Options(
        moments=("after",), points=points, faults=faults, fault_rate=0.6, errands=3, stops=False
    )
    report = played("x402-remote", 6, 3, options, tmp_path, STORES[:1])
    assert answered(report) >= 5
    assert all("the facilitator was asked" in lane.rail_told for lane in report.lanes)


def test_a_seed_is_a_plan() -> None:
    once = plan(5, 40, STORES, Options())
    assert once == plan(5, 40, STORES, Options()) != plan(6, 40, STORES, Options())
    assert [len(cycles) for cycles in once.values()] == [20, 20]

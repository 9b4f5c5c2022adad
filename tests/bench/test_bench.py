"""The harness itself: what it reads, counts and writes, and one short measurement."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from bench.blocks import Transaction, best_rate
from bench.goals import GOALS, OURS, Goal, metric
from bench.load import Loaded, Loader
from bench.peers.tollway import free_config, paid_config, takes, tollway
from bench.plan import OWN, ROOT, Options, Tree
from bench.report import page
from bench.results import Results, load_all
from bench.scenarios import challenge, free
from bench.scenarios.all import SCENARIOS
from bench.session import Session
from bench.usage import cpu_seconds, resident, tree

ABOUT: dict[str, Any] = {
    "date": "2026-01-01 00:00 UTC",
    "commit": {OURS: "abc"},
    "rounds": 3,
    "seconds": 1.0,
    "loader": "wrk",
    "versions": {"Python": "3"},
    "machine": {
        "processor": "a slow one",
        "cores": 2,
        "memory_gib": 1.0,
        "kernel": "6",
        "server_cores": [0],
        "load_cores": [1],
        "apart": True,
        "workers_share": True,
        "load_average_before": 0.1,
    },
}


def loaded(rate: float) -> Loaded:
    return Loaded(100, rate, 50.0, 900.0, 2000.0, 0, 0, 0.9, {"redis": 7.0})


def measured(scenario: str, case: str, **rates: list[float]) -> Results:
    results = Results(scenario, ABOUT)
    for who, found in rates.items():
        for number, rate in enumerate(found, 1):
            results.add(case, who.replace("_", " "), loaded(rate), number)
    return results


def test_the_median_of_the_rounds_counts_and_the_spread_is_told() -> None:
    results = measured("free", "a", tollway=[10, 30, 20], nginx=[100])
    assert results.get("a", "tollway", "rate") == 20
    assert results.get("a", "tollway", "redis_us") == 7
    assert results.spread("a", "tollway", "rate") == 1.0
    assert results.get("a", "nobody", "rate") is None


def test_figures_are_kept_between_runs(tmp_path: Path) -> None:
    measured("free", "a", tollway=[10]).save(tmp_path)
    [(name, found)] = load_all(tmp_path).items()
    assert name == "free" and found.get("a", "tollway", "rate") == 10 and found.about == ABOUT


def test_a_goal_is_met_reached_missed_or_not_measured() -> None:
    found = {"free": measured("free", "a", tollway=[10])}
    rate = metric("free", "a", "tollway")
    assert Goal("", rate, 5).verdict(found) == "met"
    assert Goal("", rate, 5, 10).verdict(found) == "reached"
    assert Goal("", rate, 11).verdict(found) == "**not met**"
    assert Goal("", rate, None, 11).verdict(found) == "not reached"
    assert Goal("", rate, 9, fewer=True).verdict(found) == "**not met**"
    assert Goal("", metric("paid", "a", "tollway"), 1).verdict(found) == "not measured"


def test_the_page_has_ratios_goals_what_is_missing_and_the_notes() -> None:
    unpaid = measured(challenge.NAME, challenge.CASE, tollway=[900], nginx=[300])
    unpaid.left_out["web.Server"] = "does not run here"
    case = list(free.CASES)[1]
    text = page({challenge.NAME: unpaid, free.NAME: measured(free.NAME, case, tollway=[40], aiohttp=[20])})
    assert "| nginx | 300 | 3.00 x |" in text
    assert "| free, 1 KB, c=32: by a plain aiohttp proxy | >= 1.8 x | 2.00 x | met |" in text
    assert "- web.Server: does not run here" in text
    assert "## Scale on paper" in text and "Not one run" not in text
    assert all(goal.text in text for goal in GOALS)


def test_a_page_of_several_commits_says_so() -> None:
    other = measured(challenge.NAME, challenge.CASE, tollway=[1])
    other.about = {**ABOUT, "commit": {OURS: "def"}}
    text = page({challenge.NAME: other, free.NAME: measured(free.NAME, "a", tollway=[1])})
    assert "Not one run" in text and "`abc`" in text and "`def`" in text


def test_the_page_in_the_docs_has_all_goals() -> None:
    text = (ROOT / "docs" / "performance.md").read_text()
    assert not [goal.text for goal in GOALS if goal.text not in text], "make bench RENDER=1"


def test_every_row_of_the_page_is_as_wide_as_its_head() -> None:
    lines = (ROOT / "docs" / "performance.md").read_text().splitlines()
    width = 0
    for before, line in pairwise(["", *lines]):
        if line.startswith("|"):
            width = line.count("|") if not before.startswith("|") else width
            assert line.count("|") == width, line


def test_the_best_blocks_in_a_row_are_the_rate() -> None:
    blocks = [Transaction(number, count, 1) for number, count in enumerate([1, 9, 9, 9, 9, 9, 1], 10)]
    assert best_rate(blocks, 2) == 4.5
    assert best_rate(blocks[:2], 2) == 2.5
    assert best_rate([], 2) == 0


def test_a_process_is_counted_with_its_children() -> None:
    me = os.getpid()
    assert me in tree(me) and cpu_seconds(me) > 0 and resident(me) > 2**20


def test_another_checkout_can_be_named_and_asked_what_it_takes(tmp_path: Path) -> None:
    assert Tree.named(f"mine={ROOT}") == Tree("tollway@mine", ROOT)
    with pytest.raises(ValueError, match="no checkout"):
        Tree.named(str(tmp_path))


@pytest.mark.parametrize(("more", "known"), [({}, True), ({"no_such_key": 1}, False)])
def test_what_a_checkout_does_not_know_is_found_out(more: dict[str, Any], known: bool) -> None:
    facilitator = {"mode": "local", "key": "0x" + "11" * 32}
    config = paid_config("http://127.0.0.1:1", "http://127.0.0.1:1", facilitator, x402=more)
    assert takes(OWN, config) is known


def test_a_short_run_of_tollway_alone(tmp_path: Path) -> None:
    session = Session(Options(rounds=1, seconds=0.2), Loader(own=True), Results("short", ABOUT), tmp_path)
    with session.stub() as upstream, tollway(OWN, free_config(upstream.url), probe="/10b") as gateway:
        assert session.expecting({"tollway": gateway}, "/1k", 200, 1024)
        assert not session.expecting({"wrong": gateway}, "/nowhere", 200)
        session.interleave("a", {"tollway": lambda: session.load(gateway, "/1k", 4)})
    told = session.results.medians("a", "tollway")
    assert told["requests"] > 20 and not told["refused"] and not told["failed"]
    assert 20 < told["cpu_us"] < 50_000 and 0 < told["p50_us"] <= told["p99_us"]
    assert session.results.left_out == {"wrong": "answers /nowhere with 404 and 12 bytes"}


def test_every_scenario_can_be_chosen() -> None:
    assert {"free", "challenge", "paid", "local", "onchain", "settling", "memory", "soak"} <= SCENARIOS.keys()

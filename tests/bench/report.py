"""The page: everything on it comes from the raw results and from ``notes/``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.goals import GOALS, OURS, Measured
from bench.scale import limits, together
from bench.scenarios import (
    challenge,
    free,
    local,
    memory,
    moments,
    offline,
    onchain,
    paid,
    settling,
    soak,
    storage,
)
from bench.tables import figure, loads, plain, table

_NOTES = Path(__file__).with_name("notes")
_HEAD = """# Performance

<!-- Written by `make bench` from .bench/*.json and tests/bench/notes/*.md: do not edit here. -->

Tollway beside its peers and its limits, on the same cores in the same run. Absolute figures move with the
machine; ratios and CPU time (microseconds of one core for each request) are what counts.
"""


def page(measured: Measured) -> str:
    """All of it."""
    parts = [_HEAD, _run(measured), _goals(measured), *_sections(measured), _note("how"), _left_out(measured)]
    parts += [_note("where-the-time-goes"), _note("scale"), limits(measured), together(measured)]
    return "\n".join(part.strip() + "\n" for part in parts)


def _run(measured: Measured) -> str:
    newest = max((each.about for each in measured.values()), key=lambda about: str(about["date"]))
    machine = newest["machine"]
    server, rest = _cores(machine["server_cores"]), _cores(machine["load_cores"])
    place = f"{server} for the server, {rest} for the rest"
    if not machine["apart"]:
        place = "**one for everything: figures of servers and load are mixed**"
    size = f"{machine['cores']} cores, {machine['memory_gib']} GiB"
    rows = [
        ["machine", f"{machine['processor']}, {size}, Linux {machine['kernel']}"],
        ["cores", place],
        ["load", f"{newest['loader']}, {newest['rounds']} rounds of {newest['seconds']:g} s, interleaved"],
        ["load average before", str(machine["load_average_before"])],
        ["versions", ", ".join(f"{name} {each}" for name, each in newest["versions"].items())],
    ]
    return "## The run\n\n" + _two_columns(rows) + "\n" + _when(measured)


def _when(measured: Measured) -> str:
    """One commit and date where all scenarios share them, else each with its own."""
    found = {
        name: (_commits(each.about), str(each.about["date"]), each.about["rounds"])
        for name, each in measured.items()
    }
    commits = {commit for commit, _, _ in found.values()}
    dates = sorted(date for _, date, _ in found.values())
    if len(commits) == 1:
        return f"Commit {commits.pop()}, {dates[0]} to {dates[-1]}.\n"
    rows = [[name, commit, date, str(rounds)] for name, (commit, date, rounds) in found.items()]
    return "**Not one run**: the scenarios are of different commits.\n\n" + table(
        ["scenario", "commit", "when", "rounds"], rows
    )


def _commits(about: dict[str, Any]) -> str:
    return ", ".join(f"`{commit}`" for commit in about["commit"].values())


def _cores(numbers: list[int]) -> str:
    return "number " + " and ".join(map(str, numbers))


def _two_columns(rows: list[list[str]]) -> str:
    return "| | |\n| --- | --- |\n" + "".join(f"| {name} | {value} |\n" for name, value in rows)


def _goals(measured: Measured) -> str:
    rows = []
    for goal in GOALS:
        value, unit = goal.value(measured), f" {goal.unit}"
        bounds = [each for each in (goal.least, goal.reach) if each]
        asked = ", then ".join(f"{'<=' if goal.fewer else '>='} {each:g}" for each in bounds)
        told = "-" if value is None else figure(value) + unit
        rows.append([goal.text, asked + unit, told, goal.verdict(measured)])
    return "## Goals\n\n" + table(["goal", "at least, then to be reached", "measured", ""], rows)


def _sections(measured: Measured) -> Iterator[str]:
    for name, title, reference in (
        (free.NAME, "Free forwarding", OURS),
        (challenge.NAME, "Unpaid requests: 402", OURS),
        (paid.NAME, "Paid, a facilitator that answers at once", f"{OURS}, Redis"),
        (local.NAME, "Paid, verified here, settled afterwards", f"{OURS}, Redis"),
        (onchain.NAME, "Paid, settled before the answer, on a chain with instant blocks", OURS),
    ):
        if found := measured.get(name):
            tables = (f"{case}\n\n{loads(found, case, reference)}" for case in found.cases())
            yield f"## {title}\n\n" + "\n".join(tables)
    yield from _others(measured)


def _others(measured: Measured) -> Iterator[str]:
    if found := measured.get(offline.NAME):
        yield "## Verification without a chain\n\n" + plain(found, offline.CASE, {"cpu_us": "CPU us"})
    if found := measured.get(settling.NAME):
        rates = {
            "settlements_per_s": "settlements/s",
            "per_transaction": "a transaction",
            "settled": "settled",
        }
        yield "## Settling from one key, 2 s blocks of 400 M gas\n\n" + plain(found, settling.CASE, rates)
        yield "Gas for each payment, distinct payers:\n\n" + plain(found, settling.GAS_CASE, {"gas": "gas"})
    if found := measured.get(moments.NAME):
        reference = f"{OURS}, Redis, 1 worker"
        tables = (f"{case}\n\n{loads(found, case, reference)}" for case in found.cases())
        shared = found.about["machine"]["workers_share"]
        yield "## Moments, stores, workers\n\n" + (_SHARED if shared else "") + "\n".join(tables)
    if found := measured.get(memory.NAME):
        yield "## Memory\n\n" + plain(found, memory.CASE, memory.COLUMNS)
    if found := measured.get(storage.NAME):
        yield f"In the store, {storage.CASE}:\n\n" + plain(found, storage.CASE, storage.COLUMNS)
    if found := measured.get(soak.NAME):
        yield "Over a long mixed load (free, unpaid, paid, streams left in the middle):\n\n" + plain(
            found, soak.CASE, soak.COLUMNS
        )


_SHARED = """This machine has two cores: with two workers the second one shares its core with the load, Redis
and the stub, which take what it could use. It shows that nothing breaks, not what a second core brings.

"""


def _left_out(measured: Measured) -> str:
    lines = [f"- {who}: {why}" for each in measured.values() for who, why in each.left_out.items()]
    told = "".join(f"{line}\n" for line in dict.fromkeys(lines))
    return "## What is not measured\n\n" + told + _note("not-measured")


def _note(name: str) -> str:
    """What is written by hand, and survives every run."""
    return (_NOTES / f"{name}.md").read_text()

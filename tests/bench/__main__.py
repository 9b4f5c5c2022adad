"""``make bench``: Tollway beside its peers and its limits, measured in one run and written to a page."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from bench.cores import LOAD
from bench.errors import CANNOT, first_line
from bench.load import Loader
from bench.machine import about
from bench.plan import OWN, ROOT, Options, Tree
from bench.report import page
from bench.results import Results, load_all
from bench.scenarios.all import SCENARIOS
from bench.session import Session, say

RAW = ROOT / ".bench"
PAGE = ROOT / "docs" / "performance.md"


def main() -> int:
    """Measures what was asked for; the exit code."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--only", default="", help=f"some of {','.join(SCENARIOS)}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of one measurement")
    parser.add_argument(
        "--tree", action="append", default=[], type=Tree.named, help="[NAME=]PATH: one more checkout"
    )
    parser.add_argument("--peers", default="all", help="all, none, or names joined by commas")
    parser.add_argument("--own-loader", action="store_true", help="load with our own program, not wrk")
    parser.add_argument("--out", type=Path, default=None, help="the page; written after a run of everything")
    parser.add_argument(
        "--render", action="store_true", help="write the page from former figures, run nothing"
    )
    parser.add_argument("--minutes", type=float, default=60.0, help="of the soak")
    given = parser.parse_args()
    options = Options(
        given.rounds, given.seconds, (OWN, *given.tree), given.own_loader, given.peers, given.minutes
    )
    usual = [name for name, each in SCENARIOS.items() if each.usual]
    chosen = [] if given.render else given.only.split(",") if given.only else usual
    if unknown := set(chosen) - SCENARIOS.keys():
        parser.error(f"--only: no scenario is called {', '.join(sorted(unknown))}")
    os.sched_setaffinity(0, LOAD)
    with tempfile.TemporaryDirectory(prefix="tollway-bench-") as folder:
        for name in chosen:
            _measure(name, options, Path(folder))
    if given.out or not given.only:
        out = given.out or PAGE
        out.write_text(page(load_all(RAW)))
        say(f"written: {out}")
    return 0


def _measure(name: str, options: Options, folder: Path) -> None:
    results = Results(name, about(options))
    session = Session(options, Loader(options.own_loader), results, folder)
    try:
        SCENARIOS[name].run(session)
    except CANNOT as error:
        session.leave_out(f"{name}, or what was left of it", first_line(error))
    results.save(RAW)
    say(f"  kept in {RAW / name}.json")


sys.exit(main())

"""``make crash``: kill the gateway N times while people buy, and audit what became of their money."""

from __future__ import annotations

import argparse
import asyncio
import secrets
import sys
import tempfile
from pathlib import Path

from crash.plan import MOMENTS, STORES, Options
from crash.rails import RAILS
from crash.report import Report
from crash.run import run


def main() -> int:
    """0 without findings, 1 with."""
    parser = argparse.ArgumentParser(prog="crash", description=__doc__)
    parser.add_argument("--rail", choices=tuple(RAILS), default="x402")
    parser.add_argument("--cycles", type=int, default=100)
    parser.add_argument("--seed", type=int, default=None, help="what an earlier run printed")
    parser.add_argument("--store", choices=(*STORES, "both"), default="both")
    parser.add_argument("--moments", default=",".join(MOMENTS), help="which kinds of routes there are")
    parser.add_argument("--report", type=Path, default=None, help="an empty folder for what is found")
    given = parser.parse_args()
    if given.report is not None and given.report.exists() and any(given.report.iterdir()):
        parser.error("--report: the folder is not empty")
    seed = secrets.randbelow(10**6) if given.seed is None else given.seed
    folder = given.report or Path(tempfile.mkdtemp(prefix="tollway-crash-"))
    stores = STORES if given.store == "both" else (given.store,)
    report = Report(seed, folder, sys.stdout)
    rail = RAILS[given.rail]
    options = Options(given.moments.split(","), faults=rail.faults, fault_rate=rail.fault_rate)
    try:
        asyncio.run(run(rail, seed, given.cycles, stores, options, folder, report))
    finally:
        found = report.finish()
    return 1 if found else 0


sys.exit(main())

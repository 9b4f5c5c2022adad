"""``make differential``: many requests, a table of what came of them; 1 where something is unexplained."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import time

from differential.run import Report, compare
from kit.anvil import Anvil


def main() -> int:
    parser = argparse.ArgumentParser(prog="differential")
    parser.add_argument("--number", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    logging.disable()  # the official one warns of every refusal
    started = time.monotonic()
    with Anvil(block_time=1, extra=("--mixed-mining",)) as chain:
        chain.place_token()
        report = asyncio.run(compare(chain, asked.number, asked.seed))
    _tell(report, time.monotonic() - started)
    return 1 if report.unexplained else 0


def _tell(report: Report, seconds: float) -> None:
    write = sys.stdout.write
    write(f"{report.total} requests in {seconds:.0f} s\n\nsame verdict, same reason\n")
    for verdict, count in report.agreed.most_common():
        write(f"{count:8} {verdict}\n")
    write("\nexplained differences\n")
    for why, count in report.differed.most_common():
        write(f"{count:8} {why}\n")
    write("\nof these, accepted by one\n")
    for why, count in report.turned.most_common():
        write(f"{count:8} {why}\n")
    write(f"\nunexplained: {len(report.unexplained)}\n")
    for line in report.unexplained:
        write(f"  {line}\n")


if __name__ == "__main__":
    sys.exit(main())

"""``python -m simulation``: run many histories, or one with its trace."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field

from simulation.history import Result, run
from simulation.virtual import virtual

CHUNK = 500


@dataclass
class Tally:
    """What many histories came to."""

    histories: int = 0
    calls: int = 0
    executions: int = 0
    seconds: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    states: Counter[str] = field(default_factory=Counter)
    bad: list[tuple[int, str]] = field(default_factory=list)

    def add(self, result: Result) -> None:
        """One more."""
        self.histories += 1
        self.calls += result.calls
        self.executions += result.executions
        self.seconds += result.seconds
        self.outcomes += result.outcomes
        self.faults += result.faults
        self.states += result.states
        if result.violations:
            told = "; ".join(f"{each.invariant}: {each.what}" for each in result.violations[:3])
            self.bad.append((result.seed, told))

    def join(self, other: Tally) -> None:
        """Those of another process."""
        self.histories += other.histories
        self.calls += other.calls
        self.executions += other.executions
        self.seconds += other.seconds
        self.outcomes += other.outcomes
        self.faults += other.faults
        self.states += other.states
        self.bad += other.bad


def tally(first: int, count: int) -> Tally:
    """Run ``count`` histories from seed ``first``."""
    found = Tally()
    with virtual():
        for seed in range(first, first + count):
            found.add(run(seed))
    return found


def explain(seed: int) -> Result:
    """The trace of one history."""
    with virtual():
        return run(seed, lambda line: print(line))  # noqa: T201


def main() -> int:
    """Exit code 1 where anything was violated."""
    parser = argparse.ArgumentParser(prog="simulation")
    parser.add_argument("--histories", "-n", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--trace", type=int, help="print the history of this one seed")
    options = parser.parse_args()
    if options.trace is not None:
        return int(bool(explain(options.trace).violations))
    return report(options)


def report(options: argparse.Namespace) -> int:
    """Run them all and say what happened."""
    began = time.monotonic()
    print(f"seed {options.seed}, {options.histories} histories")  # noqa: T201
    total = Tally()
    firsts = range(options.seed, options.seed + options.histories, CHUNK)
    last = options.seed + options.histories
    with ProcessPoolExecutor(options.processes) as pool:
        for part in pool.map(tally, firsts, [min(CHUNK, last - first) for first in firsts]):
            total.join(part)
    took = time.monotonic() - began
    say(total, took)
    return int(bool(total.bad))


def say(total: Tally, took: float) -> None:
    """The report."""
    lines = [
        f"{total.histories} histories in {took:.0f} s ({total.histories / took:.0f}/s), "
        f"{total.seconds / 3600:.0f} hours of virtual time",
        f"{total.calls} calls over wires, {sum(total.faults.values())} faults, {total.executions} executions",
        "faults: " + _counted(total.faults),
        "answers: " + _counted(total.outcomes),
        "payments at the end: " + _counted(total.states),
        f"histories with violations: {len(total.bad)}",
    ]
    kinds = Counter(told.partition(":")[0] for _, told in total.bad)
    if kinds:
        lines.append("by invariant: " + _counted(kinds))
    lines += [f"  seed {seed}: {told}" for seed, told in _various(total.bad)]
    print("\n".join(lines))  # noqa: T201
    if total.bad:
        print("\nthe first one:")  # noqa: T201
        explain(min(total.bad)[0])


def _various(bad: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """Some of each kind."""
    kinds: dict[str, list[tuple[int, str]]] = {}
    for seed, told in sorted(bad):
        kinds.setdefault(told.partition(":")[0], []).append((seed, told))
    return [each for found in kinds.values() for each in found[:5]]


def _counted(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counter.items()))


if __name__ == "__main__":
    sys.exit(main())

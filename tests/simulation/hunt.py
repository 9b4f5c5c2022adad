"""``python -m simulation.hunt``: every planted bug must be caught."""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from simulation.history import run
from simulation.mutants import MUTANTS, Mutant
from simulation.patching import planted
from simulation.virtual import virtual
from simulation.world import Violation

MOST = 4000


@dataclass(frozen=True)
class Caught:
    """The history that showed a bug."""

    seed: int
    histories: int
    invariant: str
    what: str


def hunt(mutant: Mutant, first: int, most: int) -> Caught | None:
    """The first history from seed ``first`` that is broken with the bug and whole without it."""
    with virtual():
        seed = first
        while seed < first + most:
            with planted(mutant.edits):
                found = _broken(seed)
                while found is None and (seed := seed + 1) < first + most:
                    found = _broken(seed)
            if found is not None and not run(seed).violations:
                return Caught(seed, seed - first + 1, found.invariant, found.what)
            seed += 1
    return None


def _broken(seed: int) -> Violation | None:
    """What a history breaks; a bug that only raises an error is badly planted."""
    return next((each for each in run(seed).violations if each.invariant != "W3"), None)


def _hunt(work: tuple[int, int, int]) -> tuple[int, Caught | None]:
    number, first, most = work
    return number, hunt(MUTANTS[number], first, most)


def main() -> int:
    """Exit code 1 where a bug survives."""
    parser = argparse.ArgumentParser(prog="simulation.hunt")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--most", type=int, default=MOST)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--only", type=str, default="")
    options = parser.parse_args()
    began = time.monotonic()
    work = [
        (number, options.seed, options.most)
        for number, mutant in enumerate(MUTANTS)
        if options.only in mutant.name
    ]
    survived = 0
    with ProcessPoolExecutor(options.processes) as pool:
        for number, caught in pool.map(_hunt, work):
            survived += caught is None
            say(MUTANTS[number].name, caught, options.most)
    print(f"{len(work) - survived} of {len(work)} planted bugs caught in {time.monotonic() - began:.0f} s")  # noqa: T201
    return int(bool(survived))


def say(name: str, caught: Caught | None, most: int) -> None:
    """One line."""
    if caught is None:
        print(f"SURVIVED {name}: {most} histories", flush=True)  # noqa: T201
        return
    told = f"seed {caught.seed}, history {caught.histories}, {caught.invariant}: {caught.what}"
    print(f"caught   {name}: {told}", flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())

"""What a run prints, and what it leaves behind where something was found."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from crash.lane import Lane, Told
from crash.plan import ROUND

COUNTED = ("double charge", "paid, not delivered", "delivered, unpaid", "loss")
"""Kinds of findings every report gives a number of, be it 0."""


class Report:
    """Lines while it runs, a table and sums at the end."""

    def __init__(self, seed: int, folder: Path, out: TextIO) -> None:
        self.lanes: Sequence[Lane] = ()
        self._seed = seed
        self._folder = folder
        self._out = out
        self._began = time.monotonic()

    def cycle(self, told: Told) -> None:
        """One line."""
        cycle = told.cycle
        where = "random time" if cycle.point == "random" else f"{cycle.point}:{cycle.nth}:{cycle.signal}"
        came = "reached" if told.reached else "not reached, killed"
        died = f"{cycle.store:8} workers {cycle.workers} {where:11} {came} after {told.seconds:.1f} s"
        bought = f"{told.begun} wants begun, {told.open} open"
        self._print("; ".join((f"seed {self._seed} cycle {cycle.number:4} {died}", bought, *told.extra)))

    def ended(self, lane: Lane) -> None:
        """A lane is through, or stops because of what was found: told at once, with the evidence."""
        for finding in lane.findings:
            self._print(f"FOUND in {lane.store}: {finding}")
        if lane.findings:
            _leave(lane, self._folder / lane.store)
            self._print(f"seed {self._seed}: everything about it is in {self._folder / lane.store}")

    def finish(self) -> int:
        """The table and the sums; how many findings there are."""
        for line in (*self._table(), *self._sums()):
            self._print(line)
        return sum(len(lane.findings) for lane in self.lanes)

    def _table(self) -> Iterator[str]:
        told = [each for lane in self.lanes for each in lane.told]
        planned = Counter(each.cycle.point for each in told)
        reached = Counter(each.cycle.point for each in told if each.reached)
        signals = Counter(each.cycle.signal for each in told)
        yield "point   cycles  died there"
        for point in dict.fromkeys(ROUND):
            yield f"{point:7} {planned[point]:6}  {reached[point]:10}"
        yield "signals " + ", ".join(f"{name} {count}" for name, count in sorted(signals.items()))

    def _sums(self) -> Iterator[str]:
        wants = [want for lane in self.lanes for want in lane.wants]
        signed = sum(len(want.signed) for want in wants)
        evidence = [lane.evidence for lane in self.lanes if lane.evidence is not None]
        settled = sum(len(each.transfers) for each in evidence)
        states = Counter(record["state"] for each in evidence for record in each.ledger)
        kinds = Counter(finding.kind for lane in self.lanes for finding in lane.findings)
        ended = Counter(want.ended or "open" for want in wants)
        replays = sum(reply.replayed for want in wants for reply in want.replies)
        seconds = time.monotonic() - self._began
        cycles = sum(len(lane.told) for lane in self.lanes)
        yield f"seed {self._seed}: {cycles} cycles in {seconds:.0f} s ({seconds / max(cycles, 1):.2f} s each)"
        yield f"wants {len(wants)} ({_counts(ended)}), attempts {sum(len(want.replies) for want in wants)}"
        yield f"payments {signed}, paid for {settled}, replayed answers {replays}"
        yield f"ledger: {_counts(states)}"
        unread = sum(len(each.unread(group)) for each in evidence for group in each.groups())
        yield from (f"{lane.store}: {told}" for lane in self.lanes if (told := lane.rail_told))
        yield f"answers in the kernel of a client that gave up, and so bought again: at most {unread}"
        yield ", ".join(f"{kind}: {kinds[kind]}" for kind in COUNTED) + f", all findings: {kinds.total()}"

    def _print(self, line: str) -> None:
        print(line, file=self._out, flush=True)


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counter.most_common())


def _leave(lane: Lane, folder: Path) -> None:
    """The gateway's log and configuration are there already."""
    _lines(folder / "findings.jsonl", (asdict(each) for each in lane.findings))
    _lines(folder / "wants.jsonl", (want.told() for want in lane.wants))
    if lane.evidence is not None:
        _lines(folder / "ledger.jsonl", lane.evidence.ledger)
        _lines(folder / "transfers.jsonl", (asdict(each) for each in lane.evidence.transfers))
        _lines(folder / "executions.jsonl", (asdict(each) for each in lane.evidence.executions))


def _lines(file: Path, objects: Iterable[dict[str, Any]]) -> None:
    file.write_text("".join(json.dumps(each) + "\n" for each in objects))

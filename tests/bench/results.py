"""What was measured: raw, kept as one JSON file a scenario, so that the page can be written anew."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from bench.load import Loaded

Metrics = dict[str, float]


@dataclass
class Sample:
    """One measurement of one contender."""

    case: str
    who: str
    round: int
    metrics: Metrics


@dataclass
class Results:
    """One scenario's samples, what was left out and why, and where and when it ran."""

    scenario: str
    about: dict[str, Any] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)

    def add(self, case: str, who: str, metrics: Metrics | Loaded, round_number: int = 0) -> None:
        """Keeps one measurement."""
        told = _flat(metrics) if isinstance(metrics, Loaded) else metrics
        self.samples.append(Sample(case, who, round_number, told))

    def cases(self) -> list[str]:
        """In the order they were measured."""
        return list(dict.fromkeys(sample.case for sample in self.samples))

    def contenders(self, case: str) -> list[str]:
        """In the order they were measured."""
        return list(dict.fromkeys(sample.who for sample in self.samples if sample.case == case))

    def medians(self, case: str, who: str) -> Metrics:
        """The median of every metric over the rounds; empty where it was not measured."""
        found = [each.metrics for each in self.samples if (each.case, each.who) == (case, who)]
        names = {name for each in found for name in each}
        return {name: median(each[name] for each in found if name in each) for name in names}

    def get(self, case: str, who: str, metric: str) -> float | None:
        """One median, or None where it was not measured."""
        return self.medians(case, who).get(metric)

    def spread(self, case: str, who: str, metric: str) -> float:
        """How far the rounds lie apart: (highest - lowest) / median."""
        found = [
            s.metrics[metric] for s in self.samples if (s.case, s.who) == (case, who) and metric in s.metrics
        ]
        return (max(found) - min(found)) / median(found) if found and median(found) else 0.0

    def save(self, folder: Path) -> None:
        """Writes it to ``folder``."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{self.scenario}.json").write_text(json.dumps(asdict(self), indent=1))

    @classmethod
    def load(cls, file: Path) -> Results:
        """What ``save`` wrote."""
        kept = json.loads(file.read_text())
        samples = [Sample(**each) for each in kept.pop("samples")]
        return cls(samples=samples, **kept)


def _flat(loaded: Loaded) -> Metrics:
    told = asdict(loaded)
    del told["ran_out"]
    return {**{f"{name}_us": each for name, each in told.pop("beside_us").items()}, **told}


def load_all(folder: Path) -> dict[str, Results]:
    """Every scenario that was ever measured here, by name."""
    return {file.stem: Results.load(file) for file in sorted(folder.glob("*.json"))}

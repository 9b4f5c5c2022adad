"""What one run is asked to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The checkout this harness lies in; what it measures may lie elsewhere."""


@dataclass(frozen=True)
class Tree:
    """A checkout of Tollway that is measured."""

    name: str
    path: Path

    @classmethod
    def named(cls, text: str) -> Tree:
        """``PATH`` or ``NAME=PATH``; without a name it is called after its folder."""
        name, equals, path = text.rpartition("=")
        folder = Path(path).resolve()
        if not (folder / "gateway" / "__main__.py").is_file():
            raise ValueError(f"no checkout of Tollway: {folder}")
        return cls(f"tollway@{name if equals else folder.name}", folder)


OWN = Tree("tollway", ROOT)


@dataclass(frozen=True)
class Options:
    """One run: how often and how long (seconds a measurement) each is measured, and which checkouts."""

    rounds: int = 5
    seconds: float = 2.0
    trees: Sequence[Tree] = (OWN,)
    own_loader: bool = False
    """Load with our own program even where there is wrk."""
    peers: str = "all"
    """``none`` leaves other people's servers out; names joined by commas keep only these beside Tollway."""
    minutes: float = 60.0
    """Of the soak alone."""

    def wanted(self, peer: str) -> bool:
        """Whether this peer takes part."""
        return self.peers == "all" or peer in self.peers.split(",")

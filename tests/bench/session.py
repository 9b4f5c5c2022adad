"""What a scenario works with: servers side by side, and rounds in which each has its turn."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.cores import LOAD
from bench.errors import CANNOT, first_line
from bench.load import Loaded, Loader, Payments
from bench.plan import Options
from bench.results import Metrics, Results
from bench.servers import Server, answers, program

from gateway.devchain.ports import free_ports

Opening = Callable[[], AbstractContextManager[Server]]
Attempt = Callable[[], Loaded | Metrics]
WARM_UP = 1.0
"""Seconds of load before the first round: node compiles, pools fill."""


@dataclass
class Session:
    """One scenario's run."""

    options: Options
    loader: Loader
    results: Results
    folder: Path
    """For what lasts as long as the run."""

    @contextmanager
    def stub(self) -> Iterator[Server]:
        """The API and the facilitator that answers at once."""
        with program("bench.apps.stub", local_url(), cores=LOAD) as server:
            yield server

    @contextmanager
    def side_by_side(self, openings: Mapping[str, Opening]) -> Iterator[dict[str, Server]]:
        """All of them running; one that cannot run is left out, with a word."""
        with ExitStack() as stack:
            found = {}
            for name, opening in openings.items():
                try:
                    found[name] = stack.enter_context(opening())
                except CANNOT as error:
                    self.leave_out(name, f"does not run here: {first_line(error)}")
            yield found

    def expecting(
        self, servers: Mapping[str, Server], path: str, status: int, length: int | None = None
    ) -> dict[str, Server]:
        """Those that answer as they should; the others are left out, with a word."""
        good = {}
        for name, server in servers.items():
            found, _, body = answers(server.url, path)
            if found == status and (length is None or len(body) == length):
                good[name] = server
            else:
                self.leave_out(name, f"answers {path} with {found} and {len(body)} bytes")
        return good

    def load(
        self,
        server: Server,
        path: str,
        connections: int,
        payments: Payments | None = None,
        seconds: float | None = None,
    ) -> Loaded:
        """One measurement."""
        return self.loader.load(server, path, connections, seconds or self.options.seconds, payments)

    def interleave(self, case: str, attempts: Mapping[str, Attempt], rounds: int | None = None) -> None:
        """Each in turn, round after round, at most ``rounds`` times; prints medians at the end."""
        for number in range(1, min(self.options.rounds, rounds or self.options.rounds) + 1):
            for name, attempt in attempts.items():
                try:
                    self.results.add(case, name, attempt(), number)
                except CANNOT as error:
                    self.leave_out(f"{name} ({case})", first_line(error))
        self.show(case)

    def leave_out(self, name: str, why: str) -> None:
        """It is not measured; the page says so."""
        self.results.left_out[name] = why
        say(f"  without {name}: {why}")

    def show(self, case: str) -> None:
        """Prints a case's medians."""
        say(f"\n{self.results.scenario}: {case}")
        for who in self.results.contenders(case):
            told = self.results.medians(case, who)
            say(
                f"  {who:32} " + "  ".join(f"{name} {_short(told[name])}" for name in sorted(told, key=_rank))
            )


_ORDER = ("rate", "cpu_us", "p50_us", "p99_us", "requests", "refused", "failed", "busy")


def _rank(name: str) -> int:
    return _ORDER.index(name) if name in _ORDER else len(_ORDER)


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def local_url() -> str:
    """A URL on this machine where nobody listens yet."""
    return f"http://127.0.0.1:{free_ports(1)[0]}"


def say(text: str) -> None:
    """Progress, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()

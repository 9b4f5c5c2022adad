"""Load on a server for a while, from the load's core, and what came of it."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import tools
from bench.cores import LOAD, pinned
from bench.errors import NotMeasured
from bench.plan import ROOT
from bench.servers import Server
from bench.usage import cpu_seconds

_SCRIPT = Path(__file__).with_name("load.lua")
_SLACK = 30.0


@dataclass(frozen=True)
class Loaded:
    """One measurement of one server. Microseconds: of wall clock (p50, p99), of CPU (a request)."""

    requests: int
    rate: float
    cpu_us: float
    p50_us: float
    p99_us: float
    refused: int
    """Answers of 400 and above."""
    failed: int
    """Connections that broke."""
    busy: float
    """The share of one core the server took."""
    beside_us: Mapping[str, float] = field(default_factory=dict)
    """Microseconds of CPU a request takes of what works for the server elsewhere, by name."""
    ran_out: bool = False
    """Whether the payments were used up before the time was: no measurement."""


@dataclass(frozen=True)
class Payments:
    """Signed payments: each line has a path and what is sent as ``header``."""

    file: Path
    header: str


class Loader:
    """wrk where there is one, else our own."""

    def __init__(self, own: bool = False) -> None:
        self._wrk = None if own else tools.find("wrk")

    @property
    def name(self) -> str:
        """What the page says."""
        return "wrk" if self._wrk else "tests/bench/loader.py"

    def load(
        self,
        server: Server,
        path: str,
        connections: int,
        seconds: float,
        payments: Payments | None = None,
    ) -> Loaded:
        """Loads ``path`` with that many keep-alive connections; ``payments`` are sent once each."""
        argv = self._argv(server.url + path, connections, seconds, payments)
        env = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
        if self._wrk and self._wrk.startswith(str(ROOT)):
            env["LD_LIBRARY_PATH"] = tools.library_path()
        cpu, started = server.cpu(), time.monotonic()
        beside = {name: cpu_seconds(pid) for name, pid in server.beside.items()}
        with pinned(LOAD):
            done = subprocess.run(
                argv, env=env, capture_output=True, text=True, check=False, timeout=seconds + _SLACK
            )
        cpu, elapsed = server.cpu() - cpu, time.monotonic() - started
        taken = {name: cpu_seconds(server.beside[name]) - before for name, before in beside.items()}
        try:
            told: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        except (IndexError, json.JSONDecodeError):
            raise NotMeasured(f"{argv[0]}: {done.stdout}{done.stderr}") from None
        count = told["requests"]
        return Loaded(
            requests=count,
            rate=count / told["seconds"] if told["seconds"] else 0.0,
            cpu_us=cpu * 1e6 / max(count, 1),
            p50_us=told["p50_us"],
            p99_us=told["p99_us"],
            refused=told["refused"],
            failed=told["failed"],
            busy=cpu / elapsed,
            beside_us={name: each * 1e6 / max(count, 1) for name, each in taken.items()},
            ran_out=told["ran_out"],
        )

    def _argv(self, url: str, connections: int, seconds: float, payments: Payments | None) -> list[str]:
        paid = [str(payments.file), payments.header] if payments else []
        if self._wrk is None:
            return [sys.executable, "-P", "-m", "bench.loader", url, str(connections), str(seconds), *paid]
        # wrk counts whole seconds.
        shape = [
            "-t1",
            f"-c{connections}",
            f"-d{math.ceil(seconds)}s",
            "--timeout",
            "10s",
            "-s",
            str(_SCRIPT),
        ]
        return [self._wrk, *shape, url, "--", *paid]

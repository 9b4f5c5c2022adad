"""Processes that are measured, or that measuring needs: started on their core, known to answer, ended."""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from bench.cores import LOAD, SERVER, pinned
from bench.errors import NotMeasured
from bench.plan import ROOT
from bench.usage import cpu_seconds

from gateway.devchain.children import spawn

_PATIENCE = 30.0
_LAST = 2000
"""Characters of its log that are shown of a server that did not start."""


@dataclass
class Server:
    """A running server."""

    url: str
    """Without a slash at the end."""
    pids: tuple[int, ...]
    """Its processes; their descendants count, too."""
    log: Path | None = None
    admin: str = ""
    """Of a gateway: the URL of its admin listener."""
    beside: dict[str, int] = field(default_factory=dict)
    """What works for it on the other core and is counted by itself, by name: a Redis, a chain."""

    def cpu(self) -> float:
        """Seconds of CPU so far."""
        return sum(map(cpu_seconds, self.pids))

    def output(self) -> str:
        """The end of what it printed."""
        return self.log.read_text(errors="replace")[-_LAST:] if self.log else ""


@contextmanager
def running(
    argv: Sequence[str],
    url: str,
    *,
    cores: frozenset[int] = SERVER,
    env: Mapping[str, str] | None = None,
    probe: str = "/",
    quiet: bool = False,
) -> Iterator[Server]:
    """Starts a program and waits until it answers ``probe`` with anything; ends it afterwards.

    ``quiet``: what it prints is thrown away, as a server that logs each request would fill the disk.
    """
    handle, name = tempfile.mkstemp(prefix="tollway-bench-", suffix=".log")
    log = Path(name)
    with os.fdopen(handle, "wb") as output, pinned(cores):
        process = spawn(argv, output=subprocess.DEVNULL if quiet else output, env=env)
    server = Server(url, (process.pid,), log)
    try:
        _wait_until_up(process, server, probe)
        yield server
    finally:
        _end(process)
        log.unlink(missing_ok=True)


@contextmanager
def program(module: str, url: str, *arguments: str, cores: frozenset[int] = SERVER) -> Iterator[Server]:
    """The same with a Python module of ours."""
    env = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    argv = [sys.executable, "-P", "-m", module, str(urlsplit(url).port), *arguments]
    with running(argv, url, cores=cores, env=env) as server:
        yield server


def helper(module: str, url: str, *arguments: str) -> object:
    """A program of ours that is not measured: it shares the core of the load."""
    return program(module, url, *arguments, cores=LOAD)


def answers(
    url: str, path: str = "/", headers: Mapping[str, str] | None = None
) -> tuple[int, dict[str, str], bytes]:
    """Status, header (names in lower case) and body of one GET."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=_PATIENCE)
    try:
        connection.request("GET", path, headers=dict(headers or {}))
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def _wait_until_up(process: subprocess.Popen[bytes], server: Server, probe: str) -> None:
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            answers(server.url, probe)
        except (OSError, http.client.HTTPException):
            if process.poll() is not None or time.monotonic() > deadline:
                raise NotMeasured(f"{server.url} does not answer\n{server.output()}") from None
            time.sleep(0.02)
        else:
            return


def _end(process: subprocess.Popen[bytes]) -> None:
    """Nothing it holds is of worth: no drain. Its descendants share its process group."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, 9)
    process.wait()

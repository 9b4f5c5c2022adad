"""Worker processes that share the public port.

The parent binds the sockets, forks, and starts a worker again when it dies. It runs no event
loop: signals that mean something to workers are passed on.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Run = Callable[[int, socket.socket, Callable[[], None]], int]
"""Run worker ``number`` on a socket; call back when it serves; returns the exit code."""

RESTART_PAUSE = 1.0
READY_POLL = 0.05
BACKLOG = 1024


class AddressInUse(OSError):
    """The public address cannot be bound."""

    def __init__(self, address: tuple[str, int], error: OSError) -> None:
        super().__init__(error.errno, f"cannot listen on {address[0]}:{address[1]}: {error.strerror}")


def bind(address: tuple[str, int], count: int) -> list[socket.socket]:
    """``count`` listening sockets on one address (SO_REUSEPORT where there are several)."""
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    if count > 1:
        # SO_REUSEPORT would share the port with a stranger's process, too: ask for it alone first.
        _listen(family, address, shared=False).close()
    return [_listen(family, address, shared=count > 1) for _ in range(count)]


def _listen(family: socket.AddressFamily, address: tuple[str, int], *, shared: bool) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise AddressInUse(address, error) from error
    listener.setblocking(False)
    return listener


class Supervisor:
    """Keeps one process per socket running until it is told to stop."""

    def __init__(self, sockets: list[socket.socket], run: Run, ready: Callable[[], None]) -> None:
        self._sockets = sockets
        self._run = run
        self._ready = ready
        self._numbers: dict[int, int] = {}
        self._stopping = False
        self._worst = 0

    def supervise(self) -> int:
        """Fork all, wait for all; the exit code is the worst of the workers'."""
        for received in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(received, self._pass_on)
        reader, writer = os.pipe()
        for number in range(len(self._sockets)):
            self._fork(number, writer)
        self._await_ready(reader, writer)
        while self._numbers:
            self._reap(writer, os.wait())
        return self._worst

    def _await_ready(self, reader: int, writer: int) -> None:
        """Until every worker serves, or has given up."""
        serving = 0
        while self._numbers and serving < len(self._sockets):
            if select.select([reader], [], [], READY_POLL)[0]:
                serving += len(os.read(reader, len(self._sockets)))
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid:
                self._reap(writer, (pid, status))
        os.close(reader)
        if serving == len(self._sockets):
            self._ready()

    def _fork(self, number: int, ready: int) -> None:
        pid = os.fork()
        if pid:
            self._numbers[pid] = number
            return
        for received in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(received, signal.SIG_DFL)
        code = self._run(number, self._sockets[number], lambda: _signal_ready(ready))
        sys.stdout.flush()
        os._exit(code)

    def _reap(self, ready: int, ended: tuple[int, int]) -> None:
        pid, status = ended
        number = self._numbers.pop(pid, None)
        if number is None:
            return
        code = os.waitstatus_to_exitcode(status)
        if self._stopping:
            self._worst = max(self._worst, abs(code))
            return
        if code in (3, 4):
            # Its configuration or store is refused: starting again would not help.
            self._worst = code
            self._signal_all(signal.SIGTERM)
            self._stopping = True
            return
        time.sleep(RESTART_PAUSE)
        self._fork(number, ready)

    def _pass_on(self, received: int, frame: object) -> None:
        if received != signal.SIGHUP:
            self._stopping = True
        self._signal_all(received)

    def _signal_all(self, received: int) -> None:
        for pid in list(self._numbers):
            try:
                os.kill(pid, received)
            except ProcessLookupError:
                continue


def _signal_ready(ready: int) -> None:
    try:
        os.write(ready, b"+")
    except BrokenPipeError:
        # A worker that was started again: the parent waits no more.
        return


@contextmanager
def shared_metrics(count: int) -> Iterator[None]:
    """Give several workers one folder for their metrics, before anything imports them."""
    if count == 1:
        yield
        return
    folder = tempfile.mkdtemp(prefix="tollway-metrics-")
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)

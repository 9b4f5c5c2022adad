"""Worker processes that share the public port.

The parent binds the sockets, forks, and starts a worker again when it dies. It runs no event
loop: signals that mean something to workers are passed on. A worker whose parent is gone ends
in order, so that no stray one keeps the port.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

Run = Callable[[int, socket.socket, Callable[[], None]], int]
"""Run worker ``number`` on a socket; call back when it serves; returns the exit code."""

RESTART_PAUSE = 1.0
READY_POLL = 0.05
BACKLOG = 1024
"""Connections the kernel takes in before we do: who comes in a crowd is not to try again a second later."""
RUNTIME_FAILURE = 1
REFUSED = (3, 4)
"""Exit codes of a worker whose configuration or store is refused: starting it again would not help."""
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class AddressInUse(OSError):
    """An address cannot be bound."""

    def __init__(self, address: tuple[str, int], error: OSError) -> None:
        super().__init__(f"cannot listen on {address[0]}:{address[1]}: {error.strerror}")


def bind(address: tuple[str, int], count: int) -> list[socket.socket]:
    """``count`` listening sockets on one address (SO_REUSEPORT where there are several)."""
    if count == 1:
        return [_listen(address, shared=False)]
    # SO_REUSEPORT would share the port with a stranger's process, too: ask for it alone first.
    probe = _listen(address, shared=False)
    address = (address[0], probe.getsockname()[1])
    probe.close()
    return [_listen(address, shared=True) for _ in range(count)]


def _listen(address: tuple[str, int], *, shared: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
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

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        run: Run,
        *,
        ready: Callable[[], None],
        reload: Callable[[], None],
        ended: Callable[[int, int], None],
    ) -> None:
        """``ready`` once all serve, ``reload`` on SIGHUP, ``ended`` with pid and code of each dead worker."""
        self._sockets = sockets
        self._run = run
        self._ready = ready
        self._reload = reload
        self._ended = ended
        self._numbers: dict[int, int] = {}
        self._stopping = False
        self._worst = 0

    def supervise(self) -> int:
        """Fork all, wait for all; the exit code is the worst of the workers'."""
        for received in SIGNALS:
            signal.signal(received, self._pass_on)
        self._leash, self._held = os.pipe()
        reader, self._serving = os.pipe()
        for number in range(len(self._sockets)):
            self._fork(number)
        self._await_ready(reader)
        while self._numbers:
            self._reap(os.wait())
        return self._worst

    def _await_ready(self, reader: int) -> None:
        """Until every worker serves, or has given up."""
        serving = 0
        while self._numbers and serving < len(self._sockets):
            if select.select([reader], [], [], READY_POLL)[0]:
                serving += len(os.read(reader, len(self._sockets)))
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid:
                self._reap((pid, status))
        os.close(reader)
        if serving == len(self._sockets):
            self._ready()

    def _fork(self, number: int) -> None:
        # A signal between the fork and its bookkeeping would miss the child, or be lost in it.
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            if self._stopping:
                return
            pid = os.fork()
            if pid:
                self._numbers[pid] = number
                return
            self._become(number)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    def _become(self, number: int) -> NoReturn:
        """The child's whole life. SIGHUP stays blocked until it can be heeded."""
        code = RUNTIME_FAILURE
        try:
            for received in SIGNALS:
                signal.signal(received, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM, signal.SIGINT))
            os.close(self._held)
            threading.Thread(target=_follow, args=(self._leash,), daemon=True).start()
            for other, listening in enumerate(self._sockets):
                if other != number:
                    listening.close()
            code = self._run(number, self._sockets[number], lambda: _signal_ready(self._serving))
        finally:
            if sys.exc_info()[0] is not None:
                sys.excepthook(*sys.exc_info())
            os._exit(code)

    def _reap(self, ended: tuple[int, int]) -> None:
        pid, status = ended
        number = self._numbers.pop(pid, None)
        if number is None:
            return
        code = os.waitstatus_to_exitcode(status)
        self._ended(pid, code)
        if self._stopping or code in REFUSED:
            self._worst = max(self._worst, _exit_code(code))
            self._stop()
            return
        time.sleep(RESTART_PAUSE)
        self._fork(number)

    def _pass_on(self, received: int, frame: object) -> None:
        if received == signal.SIGHUP:
            self._reload()
            self._signal_all(received)
        else:
            self._stop()

    def _stop(self) -> None:
        """Tell every worker to end; our copies of their sockets would go on accepting."""
        self._stopping = True
        for listening in self._sockets:
            listening.close()
        self._signal_all(signal.SIGTERM)

    def _signal_all(self, received: int) -> None:
        for pid in list(self._numbers):
            try:
                os.kill(pid, received)
            except ProcessLookupError:
                continue


def _exit_code(code: int) -> int:
    """A worker that was told to end before it could listen to that has done nothing wrong."""
    if code in (-signal.SIGTERM, -signal.SIGINT):
        return 0
    return code if code >= 0 else RUNTIME_FAILURE


def _follow(leash: int) -> None:
    """End in order when the parent is gone: it alone holds the other end."""
    os.read(leash, 1)
    os.kill(os.getpid(), signal.SIGTERM)


def _signal_ready(serving: int) -> None:
    try:
        os.write(serving, b"+")
    except BrokenPipeError:
        # A worker that was started again: the parent waits no more.
        return


@contextmanager
def shared_metrics(count: int) -> Iterator[None]:
    """Give several workers one folder for their metrics, before anything imports them."""
    if count == 1:
        os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)
        yield
        return
    # In memory where that is possible: it is written on every request, and roots may be read-only.
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    folder = tempfile.mkdtemp(prefix="tollway-metrics-", dir=place)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)

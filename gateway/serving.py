"""``tollway serve``: sockets, processes and signals around :class:`gateway.app.Worker`."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import uvloop

from gateway import __version__
from gateway.errors import ConfigError, StoreUnfit
from gateway.reloading import reloaded
from gateway.settings import Settings
from gateway.workers import Supervisor, bind, shared_metrics

DEPENDENCY = 4


def serve(settings: Settings, path: Path) -> int:
    """Run until told to stop; returns the exit code. AddressInUse where a port is taken."""
    # Until a worker can heed it; a reload asked for in between is not lost.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
    server = settings.server
    sockets = bind(server.listen, server.workers)
    admin = None if server.admin is None else bind(server.admin, 1)[0]
    with shared_metrics(server.workers):
        # Whatever counts must be imported after the folder for the counts is named.
        from gateway.observe import configure_logs, log, say

        configure_logs()
        for warning in settings.warnings:
            log.warning("configuration", problem=warning)

        told = "off" if admin is None else _url(admin)
        line = f"tollway {__version__} listening on {_url(sockets[0])}, admin {told}"

        def announce() -> None:
            say(line)

        service = _Service(settings, path, admin)
        if server.workers == 1:
            return service.run(0, sockets[0], announce)
        return _supervised(service, sockets, announce)


def _supervised(service: _Service, sockets: list[socket.socket], announce: Callable[[], None]) -> int:
    from prometheus_client.multiprocess import mark_process_dead

    from gateway.observe import log

    def ended(pid: int, code: int) -> None:
        mark_process_dead(pid)  # type: ignore[no-untyped-call]
        if code:
            log.error("worker", pid=pid, exit=code)

    return Supervisor(sockets, service.run, ready=announce, reload=service.reload, ended=ended).supervise()


class _Service:
    """What every worker of this process runs; in the parent also what a new one starts from."""

    def __init__(self, settings: Settings, path: Path, admin: socket.socket | None) -> None:
        self._settings = settings
        self._path = path
        self._admin = admin
        self._run = secrets.token_hex(8)

    def reload(self) -> None:
        """A worker that is started again must not sell at old prices. Refusals are the workers' to log."""
        try:
            self._settings, _ = reloaded(self._settings, self._path, os.environ)
        except ConfigError:
            return

    def run(self, number: int, listening: socket.socket, ready: Callable[[], None]) -> int:
        """One worker, from start to end; the exit code."""
        admin = self._admin
        if number and admin is not None:
            admin.close()
            admin = None
        try:
            uvloop.run(self._work(number, listening, admin, ready))
        except StoreUnfit as error:
            sys.stderr.write(f"tollway: {error}\n")
            return DEPENDENCY
        return 0

    async def _work(
        self, number: int, listening: socket.socket, admin: socket.socket | None, ready: Callable[[], None]
    ) -> None:
        from gateway.app import Worker

        worker = Worker(self._settings, self._path, number, self._run)
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, worker.stop)
        loop.add_signal_handler(signal.SIGINT, worker.stop)

        def serving() -> None:
            loop.add_signal_handler(signal.SIGHUP, worker.reload)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGHUP])
            ready()

        await worker.run(listening, admin, serving)


def _url(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

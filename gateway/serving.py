"""``tollway serve``: sockets, processes and signals around :class:`gateway.app.Worker`."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import uvloop

from gateway import __version__
from gateway.errors import StoreUnfit
from gateway.settings import Settings
from gateway.workers import Supervisor, bind, shared_metrics

CONFIG_REFUSED, DEPENDENCY = 3, 4


def serve(settings: Settings, path: Path) -> int:
    """Run until told to stop; returns the exit code. AddressInUse where the port is taken."""
    count = settings.server.workers
    sockets = bind(settings.server.listen, count)
    with shared_metrics(count):
        # Whatever counts must be imported after the folder for the counts is named.
        from gateway.observe import configure_logs

        configure_logs()

        def run(number: int, listening: socket.socket, ready: Callable[[], None]) -> int:
            return _work(settings, path, number, listening, ready)

        def announce() -> None:
            print(_ready_line(settings), flush=True)  # noqa: T201 - the one line people and scripts wait for

        if count == 1:
            return run(0, sockets[0], announce)
        return Supervisor(sockets, run, announce).supervise()


def _work(
    settings: Settings, path: Path, number: int, listening: socket.socket, ready: Callable[[], None]
) -> int:
    from gateway.app import Worker

    async def main() -> None:
        worker = Worker(settings, path, number)
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, worker.stop)
        loop.add_signal_handler(signal.SIGINT, worker.stop)
        loop.add_signal_handler(signal.SIGHUP, worker.reload)
        await worker.run(listening, ready)

    try:
        uvloop.run(main())
    except StoreUnfit as error:
        sys.stderr.write(f"tollway: {error}\n")
        return DEPENDENCY
    return 0


def _ready_line(settings: Settings) -> str:
    admin = settings.server.admin
    told = "off" if admin is None else f"http://{_authority(admin)}"
    return f"tollway {__version__} listening on http://{_authority(settings.server.listen)}, admin {told}"


def _authority(address: tuple[str, int]) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

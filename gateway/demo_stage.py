"""What every ``tollway demo`` needs: the gateway as a child, an API beside it, and a clean end."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from aiohttp import web

from gateway.devchain.children import spawn, stop, wait_until_said

_READY = "listening on http://"
_PATIENCE = 0.2
"""Seconds an application waits for its open connections when it ends."""


@contextmanager
def gateway_running(config: dict[str, Any], folder: Path) -> Iterator[Path]:
    """Starts the gateway and yields its configuration's file; ChildFailed if it does not start.

    Call this from a thread that lives as long as the gateway may.
    """
    file = folder / "gateway.yaml"
    # JSON is YAML, and needs no library to be quoted right.
    file.write_text(json.dumps(config, indent=2) + "\n")
    log = folder / "gateway.log"
    with log.open("wb") as output:
        child = spawn([sys.executable, "-m", "gateway", "serve", "-c", str(file)], output=output)
    try:
        wait_until_said(child, _READY, log)
        yield file
    finally:
        stop(child)


@asynccontextmanager
async def app_running(app: web.Application) -> AsyncIterator[str]:
    """Serves an application on a free loopback port and yields its base URL."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_PATIENCE)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@contextmanager
def hangup_is_interrupt() -> Iterator[None]:
    """SIGTERM and SIGHUP end the demo as Ctrl-C does, so that nothing it started is left behind."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        signal.raise_signal(signal.SIGINT)

    # A shell that starts us in the background has SIGINT ignored; then none of them would work.
    previous = {signal.SIGINT: signal.signal(signal.SIGINT, signal.default_int_handler)}
    previous |= {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)

"""The service put together and listening.

service = new_service("pk_test_acme_x")
async with listening(service) as url:
    ...
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from gateway.devconxa.control import Control
from gateway.devconxa.ledger import Ledger
from gateway.devconxa.options import Options
from gateway.devconxa.service import Service

_BACKLOG = 2048
_PATIENCE = 0.2


def new_service(
    *api_keys: str, options: Options | None = None, clock: Callable[[], float] = time.time
) -> Service:
    """A service that knows the providers of these keys."""
    return Service(Ledger({key: provider_of(key) for key in api_keys}, options, clock))


def provider_of(api_key: str) -> str:
    """The provider named in a key: ``acme`` in ``pk_test_acme_x``. ValueError if it names none."""
    kind, _, named = api_key.removeprefix("pk_").partition("_")
    provider = named.partition("_")[0]
    if not (api_key.startswith("pk_") and kind in ("live", "test") and provider):
        raise ValueError(f"an API key looks like pk_test_acme_x, not {api_key!r}")
    return provider


def application(service: Service) -> web.Application:
    """The calls of the API, and the control surface beside them."""
    app = service.application()
    Control(service).add_to(app)
    return app


@asynccontextmanager
async def listening(service: Service, port: int = 0) -> AsyncIterator[str]:
    """Serves on a loopback port (0: any free one) and yields the base URL."""
    runner = web.AppRunner(application(service), access_log=None, shutdown_timeout=_PATIENCE)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port, backlog=_BACKLOG).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()

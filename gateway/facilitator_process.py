"""``tollway facilitator``: the composition root of the process that settles for others."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, suppress
from typing import Any

import uvloop
from aiohttp import web

from facilitator.asked import Reader, Served, Token
from facilitator.http1.client import Client
from facilitator.local import LocalFacilitator
from facilitator.packing import Batches
from facilitator.server import Bounds, Service, problem
from gateway import __version__
from gateway.chainwatch import ChainWatch
from gateway.drain import drain
from gateway.errors import Problem, StoreUnavailable, StoreUnfit
from gateway.facilitating import StoreSettlements
from gateway.facilitators import chain_of, local
from gateway.leases import Leases
from gateway.listener import Listener
from gateway.observe import Metrics, configure_logs, log, say
from gateway.presence import Presence
from gateway.rails.x402 import X402Rail
from gateway.receiving import Limits
from gateway.settings import FacilitatorServer, Network, Settings
from gateway.settlement import Settler
from gateway.store.connect import store_of
from gateway.watch import StoreWatch
from gateway.workers import BACKLOG, bind

DEPENDENCY = 4


def serve(settings: Settings, served: FacilitatorServer) -> int:
    """Run until told to stop; returns the exit code. AddressInUse where the port is taken."""
    listening = bind(served.listen, 1)[0]
    configure_logs()
    for warning in settings.warnings:
        log.warning("configuration", problem=warning)
    try:
        uvloop.run(_work(settings, served, listening))
    except StoreUnfit as error:
        sys.stderr.write(f"tollway: {error}\n")
        return DEPENDENCY
    return 0


async def _work(settings: Settings, served: FacilitatorServer, listening: socket.socket) -> None:
    process = FacilitatorProcess(settings, served)
    loop = asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, process.stop)
    host, port = listening.getsockname()[:2]
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    line = f"tollway {__version__} facilitator listening on http://{place}"
    await process.run(listening, lambda: say(line))


class FacilitatorProcess:
    """One process that answers others' servers and serves the settlement queues of its keys."""

    def __init__(self, settings: Settings, served: FacilitatorServer) -> None:
        self._settings = settings
        self._served = served
        self._stop = asyncio.Event()

    def stop(self) -> None:
        """Begin to drain."""
        self._stop.set()

    async def run(self, listening: socket.socket, ready: Callable[[], None]) -> None:
        """Serve on a bound socket until :meth:`stop`; then drain. StoreUnfit refuses to start."""
        async with AsyncExitStack() as stack:
            service = await self._build(stack, listening.getsockname()[1])
            listener = Listener(service, _unparsed, self._limits())
            server = await asyncio.get_running_loop().create_server(listener, sock=listening, backlog=BACKLOG)
            stack.push_async_callback(listener.shutdown, 1.0)
            for task in self._settler.start():
                task.add_done_callback(_died)
            ready()
            await self._stop.wait()
            await self._drain(server, listening, listener)

    async def _build(self, stack: AsyncExitStack, port: int) -> Service:
        settings, served = self._settings, self._served
        metrics = Metrics(__version__)
        store = store_of(settings)
        stack.push_async_callback(store.close)
        self._watch = StoreWatch(store, metrics)
        await self._watch.open()
        client = stack.enter_context(Client())
        keys = [key.get_secret_value() for key in served.settlement_keys]
        x402 = settings.rails.x402
        batches = Batches() if x402 is None else x402.batch
        facilitator = local([chain_of(each) for each in served.chains], keys, client, batches)
        stack.push_async_callback(facilitator.close)
        self._chains = ChainWatch(metrics)
        self._chains.add(facilitator, [each.caip2 for each in served.chains])
        rail = _rail(facilitator, served)
        self._presence = Presence(store, f"{socket.gethostname()}:{port}", secrets.token_hex(8), 0)
        leases = Leases(store)
        self._settler = Settler(
            store,
            leases,
            [rail],
            presence=self._presence,
            replay_window=settings.store.replay_window,
            exclusive=x402 is None or x402.exclusive,
            metrics=metrics,
        )
        _background(stack, self._watch.run(), leases.run(), self._presence.run(_nothing), self._chains.run())
        return Service(
            Reader([_offered(each) for each in served.chains]),
            facilitator,
            StoreSettlements(store, self._presence, self._settler, rail, facilitator),
            keys=[key.get_secret_value() for key in served.keys],
            health=self._dependencies,
            bounds=Bounds(max_body=served.max_body, body_timeout=settings.server.body_timeout),
        )

    def _dependencies(self) -> Mapping[str, bool]:
        return {"store": self._watch.up, **self._chains.up}

    def _limits(self) -> Limits:
        server = self._settings.server
        return Limits(server.header_timeout, server.keepalive_timeout, server.max_connections)

    async def _drain(self, server: asyncio.Server, listening: socket.socket, listener: Listener) -> None:
        """Accept no more; finish requests and settlements within ``server.drain_timeout``."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._settings.server.drain_timeout
        unfinished = await drain(server, listening, listener, deadline)
        if unfinished:
            log.warning("drain", unfinished=unfinished)
        await self._settler.stop(max(0.0, deadline - loop.time()))
        with suppress(StoreUnavailable):
            await self._presence.leave()


def _rail(facilitator: LocalFacilitator, served: FacilitatorServer) -> X402Rail:
    """What the queues are served with, those of this store's gateways included; it offers nothing."""
    return X402Rail(
        lambda money, terms: (),
        facilitator,
        versions=frozenset({1, 2}),
        settle_within={each.caip2: each.settle_within for each in served.chains},
        worth=lambda terms: 0,
    )


def _offered(network: Network) -> Served:
    tokens = [Token(asset.address, asset.name, asset.version) for asset in network.assets.values()]
    by_address = {token.address.lower(): token for token in tokens}
    return Served(network.caip2, network.chain_id, network.v1_name, by_address)


def _unparsed(fault: Problem, request: web.BaseRequest) -> Any:
    """The answer to bytes that were no request."""
    answer = problem(fault.status, fault.code, fault.detail)
    if fault.close:
        answer.force_close()
    return answer


async def _nothing() -> None:
    """Nothing is to be told before a sign of life: nobody's answers are kept here."""


def _background(stack: AsyncExitStack, *loops: Coroutine[Any, Any, None]) -> None:
    for task in [asyncio.create_task(loop) for loop in loops]:
        task.add_done_callback(_died)
        stack.callback(task.cancel)


def _died(task: asyncio.Task[None]) -> None:
    """A background task must not end silently: without it money records would go stale."""
    if not task.cancelled() and task.exception() is not None:
        log.critical("background task died", error=repr(task.exception()))
        os._exit(1)

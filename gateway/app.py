"""The composition root of one worker process: the only file that constructs a gateway's things."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

from aiohttp import web

from facilitator.http1.client import Client
from gateway import __version__
from gateway.accept import Acceptor
from gateway.admin import Admin, Readiness
from gateway.budget import Budget
from gateway.chainwatch import ChainWatch
from gateway.check import route_rows
from gateway.conxa.parts import ConxaParts, conxa_parts
from gateway.deliveries import Deliveries
from gateway.drain import drain
from gateway.errors import ConfigError, StoreUnavailable
from gateway.exchange import Exchange, Times
from gateway.facilitators import RemoteWatch, groups, together
from gateway.footprint import settle_in
from gateway.forward import Forwarder
from gateway.handout import Handout
from gateway.intake import Bounds, Intake
from gateway.leases import Leases
from gateway.listener import Listener
from gateway.observe import Metrics, flush, log
from gateway.orphans import Orphans
from gateway.outcomes import Outcomes
from gateway.presence import Presence
from gateway.pricing import Pricing
from gateway.rails.base import Rail
from gateway.rails.x402 import X402Rail
from gateway.receiving import Limits
from gateway.redemption import Redemption
from gateway.relay import Relay
from gateway.reloading import reloaded
from gateway.render import Renderer
from gateway.settings import Settings
from gateway.settlement import Settler
from gateway.shelf import Shelf
from gateway.store.connect import store_of
from gateway.verifying import Verifier
from gateway.watch import StoreWatch
from gateway.workers import BACKLOG

RELEASED = 300.0
"""Seconds a payment that bought nothing is remembered, where no authorization says for how long."""
SETTLE_SLACK = 2.0
"""Seconds a request waits beyond ``settle_within`` for the outcome to be recorded."""


class Worker:
    """One process behind the public port; worker 0 has the admin listener, too."""

    def __init__(self, settings: Settings, path: Path, number: int, run: str) -> None:
        """``run`` is shared by the workers of one start."""
        self._run = run
        self._settings = settings
        self._path = path
        self._number = number
        self._metrics = Metrics(__version__)
        self._stop = asyncio.Event()

    async def run(
        self, listening: socket.socket, admin: socket.socket | None, ready: Callable[[], None]
    ) -> None:
        """Serve on bound sockets until :meth:`stop`; then drain. StoreUnfit refuses to start."""
        async with AsyncExitStack() as stack:
            stack.callback(flush)
            await self._build(stack, listening.getsockname()[1])
            server = await self._listen(listening)
            stack.push_async_callback(self._close_server, server)
            if admin is not None:
                await self._admin(stack, admin)
            for task in self._settler.start():
                task.add_done_callback(self._died)
            self._readiness.phase = "ready"
            settle_in()
            ready()
            await self._stop.wait()
            await self._drain(server, listening)

    def stop(self) -> None:
        """Begin to drain."""
        self._stop.set()

    def reload(self) -> None:
        """Read the configuration again; an invalid one changes nothing and is logged."""
        try:
            settings, waiting = reloaded(self._settings, self._path, os.environ)
        except ConfigError as error:
            self._metrics.reloads.labels("refused").inc()
            log.error("reload", result="refused", problems=list(error.problems))
            return
        self._settings = settings
        self._pricing.replace(settings.table, _timeouts(settings))
        self._forwarder.replace(settings.upstreams)
        self._shelf.clear()
        self._metrics.reloads.labels("applied").inc()
        routes = len(settings.table.routes)
        log.info("reload", result="applied", routes=routes, needs_restart=waiting or None)

    async def _build(self, stack: AsyncExitStack, port: int) -> None:
        settings, server = self._settings, self._settings.server
        self._store = store_of(settings)
        stack.push_async_callback(self._store.close)
        self._watch = StoreWatch(self._store, self._metrics)
        await self._watch.open()
        self._client = stack.enter_context(Client())
        self._pseudonym = "tollway-" + hashlib.sha256(server.public_url.encode()).hexdigest()[:8]
        rails = self._rails(stack)
        self._presence = Presence(self._store, f"{socket.gethostname()}:{port}", self._run, self._number)
        self._deliveries = Deliveries(self._store)
        self._leases = Leases(self._store)
        x402 = settings.rails.x402
        self._settler = Settler(
            self._store,
            self._leases,
            rails,
            presence=self._presence,
            replay_window=settings.store.replay_window,
            exclusive=x402 is None or x402.exclusive,
            metrics=self._metrics,
        )
        self._pricing = Pricing(settings.table, _timeouts(settings), server.public_url, self._max_timeout())
        self._forwarder = Forwarder(settings.upstreams, self._pseudonym, server.max_response_body)
        stack.callback(self._forwarder.close)
        self._renderer = Renderer(server.cors_origins, self._metrics)
        self._shelf = Shelf(self._renderer, lambda: self._watch.up)
        self._exchange = self._exchange_of(rails, Acceptor(server.trusted_proxies, self._pseudonym))
        self._readiness = Readiness(self._dependencies)
        await self._remotes.open()
        self._background(
            stack,
            self._watch.run(),
            self._leases.run(),
            self._deliveries.run(),
            self._presence.run(self._deliveries.flush),
            self._chains.run(),
            self._remotes.run(),
            *([] if self._conxa is None else [self._conxa.watch.run()]),
        )

    def _exchange_of(self, rails: list[Rail], acceptor: Acceptor) -> Exchange:
        settings, server, metrics = self._settings, self._settings.server, self._metrics
        outcomes = Outcomes({rail.name: rail for rail in rails}, self._deliveries, self._renderer, metrics)
        verifier = Verifier(self._store, metrics)
        intake = Intake(
            acceptor=acceptor,
            pricing=self._pricing,
            rails=rails,
            watch=self._watch,
            relay=Relay(self._forwarder, server.max_request_body, server.body_timeout),
            outcomes=outcomes,
            renderer=self._renderer,
            metrics=metrics,
            bounds=Bounds(server.max_request_body, server.body_timeout),
            desk=None if self._conxa is None else self._conxa.desk,
        )
        handout = Handout(
            forwarder=self._forwarder,
            pricing=self._pricing,
            deliveries=self._deliveries,
            renderer=self._renderer,
            metrics=metrics,
            max_answer=settings.store.max_answer,
        )
        redemption = Redemption(
            store=self._store,
            presence=self._presence,
            leases=self._leases,
            verifier=verifier,
            handout=handout,
            deliveries=self._deliveries,
            outcomes=outcomes,
            renderer=self._renderer,
            metrics=metrics,
            replay_window=settings.store.replay_window,
        )
        return Exchange(
            intake=intake,
            store=self._store,
            presence=self._presence,
            leases=self._leases,
            verifier=verifier,
            orphans=Orphans(self._store),
            settler=self._settler,
            handout=handout,
            redemption=redemption,
            deliveries=self._deliveries,
            budget=Budget(server.max_buffered // server.workers),
            outcomes=outcomes,
            renderer=self._renderer,
            metrics=metrics,
            times=Times(self._max_timeout(), self._settle_wait()),
        )

    def _rails(self, stack: AsyncExitStack) -> list[Rail]:
        self._chains = ChainWatch(self._metrics)
        self._remotes = RemoteWatch([], self._metrics)
        x402, self._conxa = self._x402(stack), self._wallets()
        return x402 if self._conxa is None else [*x402, self._conxa.rail]

    def _x402(self, stack: AsyncExitStack) -> list[Rail]:
        x402 = self._settings.rails.x402
        if x402 is None:
            return []
        made = groups(x402, self._client, self._settings.server.public_url)
        for group in made:
            stack.push_async_callback(group.facilitator.close)
            self._chains.add(group.facilitator, group.networks)
        self._remotes = RemoteWatch(made, self._metrics)
        rail = X402Rail(
            x402.offers,
            together(made),
            versions=frozenset({"v1": 1, "v2": 2}[name] for name in x402.protocols),
            settle_within={network.caip2: network.settle_within for network in x402.chains},
            worth=x402.worth,
            opaque=[network.caip2 for network in x402.chains if not network.evm],
        )
        return [rail]

    def _wallets(self) -> ConxaParts | None:
        settings = self._settings
        if settings.rails.conxa is None:
            return None
        client, store, server = self._client, self._store, settings.server
        return conxa_parts(settings.rails.conxa, client, store, self._metrics, server, self._pseudonym)

    def _max_timeout(self) -> float:
        x402 = self._settings.rails.x402
        return RELEASED if x402 is None else x402.max_timeout

    def _settle_wait(self) -> float:
        x402, conxa = self._settings.rails.x402, self._settings.rails.conxa
        chains = [network.settle_within for network in x402.chains] if x402 else []
        return max([*chains, conxa.settle_within if conxa else 0.0]) + SETTLE_SLACK

    def _dependencies(self) -> Mapping[str, bool]:
        wallets = {} if self._conxa is None else {"conxa": self._conxa.watch.up}
        return {"store": self._watch.up, **self._chains.up, **self._remotes.up, **wallets}

    def _background(self, stack: AsyncExitStack, *loops: Any) -> None:
        tasks = [asyncio.create_task(loop) for loop in loops]
        for task in tasks:
            task.add_done_callback(self._died)
            stack.callback(task.cancel)

    def _died(self, task: asyncio.Task[None]) -> None:
        """A background task must not end silently: without it money records would go stale."""
        if not task.cancelled() and task.exception() is not None:
            log.critical("background task died", error=repr(task.exception()))
            os._exit(1)

    async def _listen(self, listening: socket.socket) -> asyncio.Server:
        server, exchange = self._settings.server, self._exchange
        limits = Limits(server.header_timeout, server.keepalive_timeout, server.max_connections)
        self._listener = Listener(
            exchange.go_on, self._renderer.unparsed, limits, exchange.begin, self._shelf
        )
        return await asyncio.get_running_loop().create_server(self._listener, sock=listening, backlog=BACKLOG)

    async def _admin(self, stack: AsyncExitStack, listening: socket.socket) -> None:
        secret = self._settings.server.admin_token
        token = secret.get_secret_value() if secret else None
        admin = Admin(self._store, self._metrics, self._readiness, self._route_rows, token)
        runner = web.AppRunner(admin.application(), access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.SockSite(runner, listening).start()

    def _route_rows(self) -> list[dict[str, Any]]:
        return route_rows(self._settings)

    async def _drain(self, server: asyncio.Server, listening: socket.socket) -> None:
        """Accept no more; finish requests and settlements within ``drain_timeout``."""
        self._readiness.phase = "draining"
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._settings.server.drain_timeout
        unfinished = await drain(server, listening, self._listener, deadline)
        if unfinished:
            log.warning("drain", unfinished=unfinished)
        await self._settler.stop(max(0.0, deadline - loop.time()))
        await self._say_goodbye()

    async def _say_goodbye(self) -> None:
        """What became of the last answers, and that nobody waits here any more."""
        with suppress(StoreUnavailable):
            await self._deliveries.flush()
            await self._presence.leave()

    async def _close_server(self, server: asyncio.Server) -> None:
        server.close()
        await self._listener.shutdown(timeout=1.0)


def _timeouts(settings: Settings) -> dict[str, float]:
    return {name: upstream.timeout for name, upstream in settings.upstreams.items()}

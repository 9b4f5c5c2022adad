"""The service over HTTP: the five calls of the CONXA API, and what goes wrong with them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable

from aiohttp import web

from gateway.devconxa.calls import Calls
from gateway.devconxa.faults import BEFORE, Endpoint, Faults, Rule
from gateway.devconxa.ledger import Attempt, Ledger
from gateway.devconxa.mischief import error_of, gone, hang, headers_of, nonsense, reset
from gateway.devconxa.orders import order_of
from gateway.devconxa.replies import Declined, Reply, error, rendered

Answer = Callable[[web.Request, float], Awaitable[Reply]]
"""Answers a call; the seconds are how long it is to be in progress."""


class Service:
    """``lock`` is held for every look at the ledger, the faults and the calls: other threads may look too."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.faults = Faults()
        self.calls = Calls()
        self.lock = threading.Lock()

    def application(self) -> web.Application:
        """The calls of the API; ``gateway.devconxa.standin`` adds the control surface."""
        app = web.Application(middlewares=[self._enveloped])
        app.router.add_post("/charge/authorize", self._served("charge", self._charge))
        app.router.add_get("/providers/session/status", self._served("status", self._status))
        app.router.add_get("/wallet/{wallet}", self._served("wallet", self._wallet))
        app.router.add_get("/health", self._served("health", self._health))
        return app

    @web.middleware
    async def _enveloped(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        try:
            return await handler(request)
        except web.HTTPException as refusal:
            return self.response(error(refusal.status, refusal.reason))

    def response(self, reply: Reply) -> web.Response:
        """A reply on the wire, errors in the form that is switched on."""
        return web.json_response(rendered(reply, self.ledger.options.errors), status=reply.status)

    def _served(
        self, endpoint: Endpoint, answer: Answer
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def serve(request: web.Request) -> web.StreamResponse:
            body = await request.read()
            with self.lock:
                self.calls.came(endpoint, request.headers.get("X-Idempotency-Key"), body)
                rule = self.faults.take(endpoint)
            response = await self._response_to(request, answer, rule)
            with self.lock:
                self.calls.ended(endpoint, None if gone(request) else response.status)
            return response

        return serve

    async def _response_to(self, request: web.Request, answer: Answer, rule: Rule | None) -> web.Response:
        if rule is None or rule.kind == "slow":
            return self.response(await _settled(answer(request, rule.seconds if rule else 0)))
        if rule.kind not in BEFORE:
            await _settled(answer(request, 0))
        return await self._spoiled(request, rule)

    async def _spoiled(self, request: web.Request, rule: Rule) -> web.Response:
        """What is answered in place of the answer; nothing, where the connection is gone."""
        if rule.kind in ("garbage", "bad_envelope"):
            return nonsense(rule)
        if rule.kind in ("hang_before", "hang_after"):
            await hang(request)
        elif rule.kind in ("reset_before", "reset_after"):
            reset(request)
        response = self.response(error_of(rule))
        response.headers.update(headers_of(rule))
        return response

    async def _charge(self, request: web.Request, seconds: float) -> Reply:
        body = await request.read()
        with self.lock:
            attempt = self._attempt(request, body)
            stored = self.ledger.begin(attempt)
        await asyncio.sleep(seconds)
        with self.lock:
            return stored or self.ledger.finish(attempt)

    def _attempt(self, request: web.Request, body: bytes) -> Attempt:
        provider = self._provider(request)
        key = request.headers.get("X-Idempotency-Key")
        if key == "":
            raise Declined(error(422, "The idempotency key is empty", "VALIDATION_ERROR"))
        return Attempt(provider, request.headers.get("X-Provider-Session", ""), key, order_of(body))

    async def _status(self, request: web.Request, seconds: float) -> Reply:
        await asyncio.sleep(seconds)
        username = request.query.get("provider_username", "")
        with self.lock:
            provider = self._provider(request)
            if not username.strip():
                raise Declined(error(422, "provider_username is missing", "VALIDATION_ERROR"))
            return self.ledger.status(provider, username.strip())

    async def _wallet(self, request: web.Request, seconds: float) -> Reply:
        """Public: whoever knows a wallet's id may see what is in it."""
        await asyncio.sleep(seconds)
        wallet = request.match_info["wallet"]
        with self.lock:
            return Reply(200, {"wallet_id": wallet, "tokens": self.ledger.wallets.balance(wallet)})

    async def _health(self, request: web.Request, seconds: float) -> Reply:
        await asyncio.sleep(seconds)
        return Reply(200, {"status": "ok"})

    def _provider(self, request: web.Request) -> str:
        return self.ledger.provider(request.headers.get("X-Provider-API-Key", ""))


async def _settled(answer: Awaitable[Reply]) -> Reply:
    try:
        return await answer
    except Declined as declined:
        return declined.reply

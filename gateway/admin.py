"""The admin listener: health, metrics, routes and payments (INTERFACE section 4)."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import web

from gateway.errors import ClientError, Problem
from gateway.observe import CONTENT_TYPE, Metrics
from gateway.payment import Payment, State
from gateway.store import Store

_OPEN = frozenset({"/livez", "/readyz"})
_PAGE = "50"
_MAX_PAGE = 500


@dataclass(slots=True)
class Readiness:
    """What ``/readyz`` tells; ``dependencies`` is asked anew each time."""

    dependencies: Callable[[], Mapping[str, bool]]
    phase: str = "starting"


class Admin:
    """The handlers; constructed once per process that has the admin listener."""

    def __init__(
        self,
        store: Store,
        metrics: Metrics,
        readiness: Readiness,
        routes: Callable[[], list[dict[str, Any]]],
        token: str | None,
    ) -> None:
        self._store = store
        self._metrics = metrics
        self._readiness = readiness
        self._routes = routes
        self._token = token

    def application(self) -> web.Application:
        """The aiohttp application to run on the admin address."""
        app = web.Application(middlewares=[self._guard])
        app.router.add_get("/livez", self._livez)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics_page)
        app.router.add_get("/routes", self._routes_page)
        app.router.add_get("/payments", self._payments)
        app.router.add_get("/payments/{id}", self._payment)
        return app

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        try:
            if request.path not in _OPEN:
                self._authorize(request)
            return await handler(request)
        except Problem as problem:
            return _problem(problem)
        except web.HTTPException as error:
            return _problem(_of_the_router(error))

    def _authorize(self, request: web.Request) -> None:
        if self._token is None:
            return
        presented = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
        if not hmac.compare_digest(presented, f"Bearer {self._token}".encode()):
            raise ClientError(
                "unauthorized",
                "give server.admin_token as a bearer token",
                status=401,
                headers=[("WWW-Authenticate", "Bearer")],
            )

    async def _livez(self, request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, request: web.Request) -> web.Response:
        dependencies = dict(self._readiness.dependencies())
        ready = self._readiness.phase == "ready"
        if request.query.get("strict") == "1":
            ready = ready and all(dependencies.values())
        told = {name: "up" if up else "down" for name, up in dependencies.items()}
        return _json({"status": self._readiness.phase, "dependencies": told}, 200 if ready else 503)

    async def _metrics_page(self, request: web.Request) -> web.Response:
        return web.Response(body=self._metrics.exposition(), headers={"Content-Type": CONTENT_TYPE})

    async def _routes_page(self, request: web.Request) -> web.Response:
        return _json({"routes": self._routes()})

    async def _payments(self, request: web.Request) -> web.Response:
        asked = _query(request)
        payments, cursor = await self._store.listing(
            state=_state(asked.get("state")),
            route=asked.get("route"),
            limit=_limit(asked.get("limit", _PAGE)),
            cursor=asked.get("cursor"),
        )
        return _json({"payments": [_told(payment) for payment in payments], "cursor": cursor})

    async def _payment(self, request: web.Request) -> web.Response:
        payment = await self._store.find(request.match_info["id"])
        if payment is None:
            raise ClientError("no_payment", "no payment of that id is recorded", status=404)
        transitions = [{"state": state, "at_ms": at} for state, at in payment.history]
        return _json(_told(payment) | {"transitions": transitions})


def _told(payment: Payment) -> dict[str, Any]:
    return {
        "id": payment.id,
        "state": payment.state,
        "rail": payment.rail,
        "route": payment.route,
        "payer": payment.payer,
        "amount": str(payment.amount),
        "asset": payment.asset,
        "network": payment.network,
        "transaction": payment.transaction,
        "reason": payment.reason,
        "attempts": payment.attempts,
        "settle": payment.moment,
        "left": payment.left,
        "redemptions": payment.redemptions,
        "created_at_ms": payment.created_at,
        "updated_at_ms": payment.updated_at,
        "settled_at_ms": payment.settled_at,
        "delivered_at_ms": payment.delivered_at,
    }


def _query(request: web.Request) -> dict[str, str]:
    """The query of a listing; a typo must not answer another question."""
    unknown = set(request.query) - {"state", "route", "limit", "cursor"}
    if unknown or len(request.query) != len(set(request.query)):
        raise ClientError("bad_query", "known here, each once: state, route, limit, cursor")
    return dict(request.query)


def _state(name: str | None) -> State | None:
    if name is not None and name not in list(State):
        raise ClientError("bad_query", f"state is one of {', '.join(State)}")
    return None if name is None else State(name)


def _limit(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 5 and 1 <= int(text) <= _MAX_PAGE):
        raise ClientError("bad_query", f"limit is a number from 1 to {_MAX_PAGE}")
    return int(text)


def _of_the_router(error: web.HTTPException) -> Problem:
    headers = [(name, value) for name, value in error.headers.items() if name == "Allow"]
    return ClientError("no_route", "not served here", status=error.status, headers=headers)


def _problem(problem: Problem) -> web.Response:
    request_id = secrets.token_hex(10)
    headers = {"X-Request-Id": request_id, **dict(problem.headers)}
    if problem.retry_after is not None:
        headers["Retry-After"] = str(problem.retry_after)
    return web.Response(
        body=problem.body(request_id),
        status=problem.status,
        content_type="application/problem+json",
        headers=headers,
    )


def _json(body: dict[str, Any], status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(body) + b"\n", status=status, content_type="application/json")

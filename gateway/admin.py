"""The admin listener: health, metrics, routes and payments (INTERFACE section 4)."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import web

from gateway.errors import StoreUnavailable
from gateway.observe import CONTENT_TYPE, Metrics
from gateway.payment import Payment, State
from gateway.store import Store

_OPEN = frozenset({"/livez", "/readyz"})
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
        if self._token is not None and request.path not in _OPEN and not self._allowed(request):
            return _json({"code": "unauthorized"}, 401, {"WWW-Authenticate": "Bearer"})
        try:
            return await handler(request)
        except StoreUnavailable as error:
            return _json({"code": error.code, "detail": error.detail}, 503)

    def _allowed(self, request: web.Request) -> bool:
        presented = request.headers.get("Authorization", "").encode()
        return hmac.compare_digest(presented, f"Bearer {self._token}".encode())

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
        wanted = request.query.get("state")
        limit = request.query.get("limit", "50")
        if (wanted and wanted not in list(State)) or not limit.isascii() or not limit.isdigit():
            return _json({"code": "bad_query", "states": [*State]}, 400)
        payments, cursor = await self._store.listing(
            state=State(wanted) if wanted else None,
            route=request.query.get("route"),
            limit=min(max(int(limit[:6]), 1), _MAX_PAGE),
            cursor=request.query.get("cursor"),
        )
        return _json({"payments": [_told(payment) for payment in payments], "cursor": cursor})

    async def _payment(self, request: web.Request) -> web.Response:
        payment = await self._store.find(request.match_info["id"])
        if payment is None:
            return _json({"code": "not_found"}, 404)
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
        "created_at_ms": payment.created_at,
        "updated_at_ms": payment.updated_at,
    }


def _json(body: dict[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(
        body=orjson.dumps(body) + b"\n", status=status, content_type="application/json", headers=headers
    )

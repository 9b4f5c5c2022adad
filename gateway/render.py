"""What clients and operators see: answers of our own, paid answers, and the line in the log."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

from gateway import headers
from gateway.accept import Incoming
from gateway.answers import Answer
from gateway.errors import Problem
from gateway.forward import Fetched
from gateway.headers import Field
from gateway.observe import Metrics, line
from gateway.payment import Payment, State
from gateway.prepared import Prepared
from gateway.rails.base import Credential
from policies.route import Route

NO_STORE = (b"Cache-Control", b"no-store")
_JSON = (b"Content-Type", b"application/json")


class _Ids:
    """Request ids, 80 random bits each; the system is asked for many at a time."""

    def __init__(self) -> None:
        self._ready: list[str] = []

    def fresh(self) -> str:
        """20 hex digits."""
        if not self._ready:
            drawn = os.urandom(2560).hex()
            self._ready = [drawn[at : at + 20] for at in range(0, len(drawn), 20)]
        return self._ready.pop()


_ids = _Ids()


class Entry:
    """What is known of one request when it ends; the log line is made from it."""

    __slots__ = (
        "credential",
        "incoming",
        "method",
        "own",
        "path",
        "payment",
        "reason",
        "request_id",
        "route",
        "started",
        "state",
        "upstream_seconds",
    )

    def __init__(self, method: str) -> None:
        self.request_id = _ids.fresh()
        self.method = method
        self.started = time.monotonic()
        self.incoming: Incoming | None = None
        self.route: Route | None = None
        self.path: str | None = None
        """As it is logged."""
        self.own = False
        """Whether it is a path of our own."""
        self.credential: Credential | None = None
        self.payment: Payment | None = None
        self.state: State | None = None
        self.reason: str | None = None
        self.upstream_seconds: float | None = None

    def paid_with(self, credential: Credential) -> None:
        """The request carries a payment whose signature is good."""
        self.credential = credential

    def line(self, status: int, seconds: float) -> dict[str, object]:
        """The log line's members, as far as there is something to say: the path without its query, never a
        credential."""
        told: dict[str, object] = {
            "request_id": self.request_id,
            "method": self.method,
            "status": status,
            "duration_ms": round(seconds * 1000, 2),
        }
        if self.route is not None:
            told["route"] = self.route.name
        if self.path is not None:
            told["path"] = self.path
        if self.upstream_seconds is not None:
            told["upstream_ms"] = round(self.upstream_seconds * 1000, 2)
        if self.reason is not None:
            told["reason"] = self.reason
        if self.credential is not None:
            told |= self._about_payment(self.credential)
        return told

    def _about_payment(self, credential: Credential) -> dict[str, object]:
        payment = self.payment
        state = payment.state if payment else self.state
        told: dict[str, object] = {
            "rail": credential.rail,
            "network": credential.network,
            "asset": credential.asset,
            "amount": str(credential.amount),
            "payer": credential.payer,
        }
        if state is not None:
            told["state"] = state
        if payment is not None:
            told["payment_id"] = payment.id
        if payment is not None and payment.transaction:
            told["tx"] = payment.transaction
        return told


class Renderer:
    """Turns outcomes into answers; the one place that knows our own bodies and fields."""

    def __init__(self, origins: Sequence[str] | str, metrics: Metrics) -> None:
        self._origins = origins
        self._metrics = metrics

    def unparsed(self, problem: Problem, request: web.BaseRequest) -> Answer:
        """The answer to bytes that were no request, with its own log line."""
        entry = Entry(request.method)
        answer = self.problem(problem, entry)
        self.finished(entry, answer.status)
        return answer

    def problem(
        self,
        problem: Problem,
        entry: Entry,
        extra: Sequence[Field] = (),
        members: Mapping[str, Any] | None = None,
    ) -> Answer:
        """RFC 9457, with Retry-After where trying again makes sense; ``members`` extend the object."""
        entry.reason = problem.code
        fields: list[Field] = [(b"Content-Type", b"application/problem+json"), NO_STORE, *extra]
        if problem.retry_after is not None:
            fields.append((b"Retry-After", str(problem.retry_after).encode()))
        fields += [(name.encode(), value.encode()) for name, value in problem.headers]
        fields += self._ours(entry)
        return Answer(problem.status, fields, problem.body(entry.request_id, members), close=problem.close)

    def challenge(
        self, incoming: Incoming, prepared: Prepared, resource: str, reason: str, entry: Entry
    ) -> Answer:
        """The 402 with every way to pay."""
        entry.reason = reason
        fields = prepared.documents(resource)
        if prepared.pages and incoming.method == "GET":
            fields.append((b"Vary", b"Accept"))
            if _navigates(incoming):
                page = prepared.pages[0](incoming.method, _target(incoming))
                return Answer(402, [*fields, *page.fields, *self._ours(entry)], page.body)
        fields += [_JSON, NO_STORE, *self._ours(entry)]
        return Answer(402, fields, prepared.body(resource, entry.request_id))

    def repeated(self, about: Entry) -> bytes:
        """The id of one more request that was told the same as another."""
        entry = Entry(about.method)
        entry.path, entry.route, entry.reason = about.path, about.route, about.reason
        self.challenged(entry)
        self.finished(entry, 402, gone_out=True)
        return entry.request_id.encode()

    def challenged(self, entry: Entry) -> None:
        """Count one 402 to a request without a credential."""
        assert entry.route is not None
        self._metrics.challenges.labels(entry.route.name).inc()

    def paid(self, incoming: Incoming, fetched: Fetched, receipt: Sequence[Field]) -> Answer:
        """The upstream's answer, unfit for shared caches, with the receipt."""
        fields = self.paid_head(incoming, fetched.fields, receipt)
        return Answer(fetched.status, fields, fetched.body, length=fetched.length)

    def paid_head(self, incoming: Incoming, fields: Sequence[Field], receipt: Sequence[Field]) -> list[Field]:
        """The header of a paid answer."""
        ours = [*receipt, (b"X-Request-Id", incoming.id.encode())]
        kept = headers.without_cors(headers.private(fields))
        return kept + ours + headers.cors(self._origins, incoming.origin)

    def unpaid(self, fetched: Fetched) -> Answer:
        """The upstream's answer outside ``success``: passed on as it is, not charged."""
        return Answer(fetched.status, fetched.fields, fetched.body, length=fetched.length)

    def preflight(self, incoming: Incoming) -> Answer:
        """OPTIONS on a priced route is answered here and never charged."""
        wanted = incoming.headers.get("Access-Control-Request-Headers", "").encode("latin-1", "ignore")
        method = incoming.headers.get("Access-Control-Request-Method", "GET").encode("latin-1", "ignore")
        fields = headers.cors(self._origins, incoming.origin)
        if fields:
            fields += [
                (b"Access-Control-Allow-Methods", method),
                (b"Access-Control-Allow-Headers", b", ".join(filter(None, (wanted, headers.ALLOWED)))),
                (b"Access-Control-Max-Age", b"86400"),
            ]
        return Answer(204, [field for field in fields if headers.emittable([field])])

    def finished(self, entry: Entry, status: int, *, gone_out: bool = False) -> None:
        """Count and log one answered request; before its answer has ``gone_out`` if that can be."""
        seconds = time.monotonic() - entry.started
        route = entry.route.name if entry.route else ""
        self._metrics.answered(route, _known(entry.method), status, seconds)
        line("request", entry.line(status, seconds), at_once=not gone_out)

    def _ours(self, entry: Entry) -> list[Field]:
        fields: list[Field] = [(b"X-Request-Id", entry.request_id.encode())]
        priced = entry.route is not None and not entry.route.free
        if (priced or entry.own) and entry.incoming is not None:
            fields += headers.cors(self._origins, entry.incoming.origin)
        return fields


def paid_fields(credential: Credential, payment_id: str, route: str) -> list[Field]:
    """What a paid request tells the upstream about its payment."""
    told = {
        "Payment-Id": payment_id,
        "Rail": credential.rail,
        "Payer": credential.payer,
        "Amount": str(credential.amount),
        "Asset": credential.asset,
        "Network": credential.network,
        "Route": route,
    }
    return [(f"X-Tollway-{name}".encode(), value.encode()) for name, value in told.items()]


def _navigates(incoming: Incoming) -> bool:
    """Whether a person's browser opens this, to show what comes."""
    return incoming.method == "GET" and "text/html" in incoming.headers.get("Accept", "").lower()


def _target(incoming: Incoming) -> str:
    return incoming.target.path if incoming.query is None else f"{incoming.target.path}?{incoming.query}"


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def _known(method: str) -> str:
    """A method as a metric label: a stranger's invention must not make a new series."""
    return method if method in _METHODS else "other"

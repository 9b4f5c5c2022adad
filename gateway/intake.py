"""From a request to a purchase: accept, match, challenge, read. What is no payment ends here.

Garbage stops before any store, chain or upstream work.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from aiohttp import web

from gateway import headers
from gateway.accept import Acceptor, Incoming, invite_body, read_body
from gateway.answers import Answer, Written
from gateway.budget import Hold
from gateway.conxa.desk import Desk
from gateway.errors import ClientError
from gateway.observe import Metrics
from gateway.outcomes import Outcomes
from gateway.payment import request_digest
from gateway.pricing import Pricing
from gateway.purchase import Purchase
from gateway.rails.base import MalformedCredential, Quote, Rail, Refusal, Wanted
from gateway.relay import Relay
from gateway.render import Entry, Renderer
from gateway.watch import StoreWatch
from policies.route import Route

Later: TypeAlias = "Callable[[Hold], Awaitable[Purchase | Answer | Written | Later]]"
"""What is left to do for a request; what is held meanwhile counts against the hold."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits of a request body: bytes, and seconds."""

    max_body: int
    body_timeout: float


class Intake:
    """Answers what needs no payment, and turns what carries one into a :class:`Purchase`."""

    def __init__(
        self,
        *,
        acceptor: Acceptor,
        pricing: Pricing,
        rails: Sequence[Rail],
        watch: StoreWatch,
        relay: Relay,
        outcomes: Outcomes,
        renderer: Renderer,
        metrics: Metrics,
        bounds: Bounds,
        desk: Desk | None,
    ) -> None:
        """``desk`` serves the gateway's own paths, where a rail has some."""
        self._acceptor = acceptor
        self._pricing = pricing
        self._rails = {rail.name: rail for rail in rails}
        self._watch = watch
        self._relay = relay
        self._outcomes = outcomes
        self._renderer = renderer
        self._metrics = metrics
        self._bounds = bounds
        self._desk = desk

    def look(self, request: web.BaseRequest, entry: Entry) -> Answer | Later:
        """The answer where nothing has to be waited for, or what comes next.

        Every Problem is the caller's to render.
        """
        incoming = self._acceptor.accept(request, entry.request_id)
        entry.incoming, entry.path = incoming, incoming.target.path
        if self._desk is not None and self._desk.serves(incoming.target.path):
            # It may name a secret.
            entry.own, entry.path = True, self._desk.logged(incoming.target.path)
            return partial(self._desk.answer, incoming)
        if incoming.method == "OPTIONS" and self._pricing.priced(incoming):
            return self._renderer.preflight(incoming)
        route = self._pricing.route(incoming, None)
        if route is None:
            return partial(self._match, incoming, entry)
        return self._matched(incoming, route, None, entry)

    async def take(self, later: Later, hold: Hold) -> Purchase | Answer | Written:
        """A purchase, or the answer where there is none. Every Problem is the caller's to render."""
        found = await later(hold)
        while not isinstance(found, Purchase | Answer | Written):
            found = await found(hold)
        return found

    async def _match(self, incoming: Incoming, entry: Entry, hold: Hold) -> Answer | Later:
        """Where finding the route, or its price, takes reading the body."""
        if headers.carries_credential(incoming.fields):
            invite_body(incoming)
        body = await self._read_body(incoming, hold)
        route = self._pricing.route(incoming, body)
        assert route is not None
        return self._matched(incoming, route, body, entry)

    def _matched(self, incoming: Incoming, route: Route, body: bytes | None, entry: Entry) -> Answer | Later:
        entry.route = route
        if route.free:
            return partial(self._pass_through, incoming, route)
        self._watch.require()
        presented = headers.credential(incoming.fields, self._names(route))
        quotes = self._pricing.quotes(incoming, route, body)
        if presented is None:
            self._renderer.challenged(entry)
            answer = self._outcomes.challenge(incoming, route, quotes[0], "payment_required", entry)
            answer.about = entry
            return answer
        return partial(self._read, presented, incoming, route, quotes, body, entry)

    def _pass_through(self, incoming: Incoming, route: Route, hold: Hold) -> Awaitable[Written]:
        return self._relay.pass_through(incoming, route.upstream, self._pricing.timeout(route))

    def _names(self, route: Route) -> list[str]:
        return [header for name in route.accept for header in self._rails[name].headers]

    async def _read_body(self, incoming: Incoming, hold: Hold) -> bytes:
        return await read_body(incoming, self._bounds.max_body, self._bounds.body_timeout, hold)

    async def _read(
        self,
        presented: tuple[str, str],
        incoming: Incoming,
        route: Route,
        quotes: Sequence[Quote],
        body: bytes | None,
        entry: Entry,
        hold: Hold,
    ) -> Purchase | Answer:
        header, value = presented
        rail = next(self._rails[name] for name in route.accept if header in self._rails[name].headers)
        key = headers.idempotency_key(incoming.fields)
        try:
            credential = rail.read(header, value, quotes, key)
        except MalformedCredential as error:
            raise ClientError("malformed_payment", f"{header}: {error}") from error
        if isinstance(credential, Refusal):
            self._metrics.refusals.labels(route.name, credential.reason).inc()
            return self._outcomes.challenge(incoming, route, quotes[0], credential.reason, entry)
        if body is None:
            invite_body(incoming)
            body = await self._read_body(incoming, hold)
        digest = request_digest(incoming.method, incoming.target.path, incoming.query, body)
        wanted = Wanted(quotes[0], incoming.target.path, body, headers.accept_encoding(incoming.fields))
        entry.paid_with(credential)
        key = key or credential.identifier
        return Purchase(incoming, route, rail, wanted, credential, digest, key, hold, entry)

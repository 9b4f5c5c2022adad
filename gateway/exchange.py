"""The flow of one request, in order. Nothing else in the project says order.

    accept -> match -> challenge
                    -> read -> reserve -> verify -> forward -> serve -> settle -> respond

Read decodes the credential and checks its signature: garbage stops there, before any store,
chain or upstream work. Reserve answers from the record, or claims. Every step that changes what
may happen to money is durable before its effect.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from aiohttp import web

from facilitator.base import Refused, VerificationUnavailable
from gateway import headers
from gateway.accept import Acceptor, Incoming, invite_body, read_body
from gateway.answers import Answer, Written
from gateway.budget import Budget, Hold
from gateway.errors import ClientError, Problem, Unavailable
from gateway.forward import Fetched, Forwarder
from gateway.leases import LEASE, Leases
from gateway.observe import Metrics, log
from gateway.outcomes import Outcomes, Purchase, in_progress
from gateway.payment import Claim, Claimed, Lease, Payment, State, allowed_from, request_digest
from gateway.pricing import Pricing
from gateway.rails.base import MalformedCredential, OtherClaims, Quote, Rail
from gateway.relay import Relay
from gateway.render import Entry, Renderer, paid_fields
from gateway.settlement import Settler
from gateway.store import Step, Store
from gateway.stored import pack
from gateway.watch import StoreWatch
from policies.route import Route


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits of the exchange; sizes in bytes, times in seconds."""

    max_body: int
    body_timeout: float
    max_timeout: float
    settle_wait: float


class Exchange:
    """Answers every request of the public listener."""

    def __init__(
        self,
        *,
        acceptor: Acceptor,
        pricing: Pricing,
        rails: Sequence[Rail],
        store: Store,
        watch: StoreWatch,
        leases: Leases,
        settler: Settler,
        forwarder: Forwarder,
        relay: Relay,
        budget: Budget,
        renderer: Renderer,
        metrics: Metrics,
        bounds: Bounds,
    ) -> None:
        self._acceptor = acceptor
        self._pricing = pricing
        self._rails = {rail.name: rail for rail in rails}
        self._store = store
        self._watch = watch
        self._leases = leases
        self._settler = settler
        self._forwarder = forwarder
        self._relay = relay
        self._budget = budget
        self._renderer = renderer
        self._outcomes = Outcomes(self._rails, store, renderer, metrics)
        self._metrics = metrics
        self._bounds = bounds

    async def __call__(self, request: web.BaseRequest) -> Answer | Written:
        """The listener's handler: every outcome is an answer, every Problem is rendered here."""
        entry = Entry(request)
        try:
            with self._budget.hold() as hold:
                answer = await self._answer(self._accept(request, entry), hold, entry)
        except Problem as problem:
            answer = self._renderer.problem(problem, entry)
        self._renderer.finished(entry, answer.status)
        return answer

    # ACCEPT, MATCH and CHALLENGE

    def _accept(self, request: web.BaseRequest, entry: Entry) -> Incoming:
        incoming = self._acceptor.accept(request, entry.request_id)
        entry.incoming = incoming
        return incoming

    async def _answer(self, incoming: Incoming, hold: Hold, entry: Entry) -> Answer | Written:
        if incoming.method == "OPTIONS" and self._pricing.priced(incoming):
            return self._renderer.preflight(incoming)
        route, body = await self._match(incoming, hold)
        entry.route = route
        if route.free:
            return await self._relay.pass_through(incoming, route.upstream, self._pricing.timeout(route))
        self._watch.require()
        presented = headers.credential(incoming.fields, self._credential_names(route))
        quotes = self._pricing.quotes(incoming, route, body)
        if presented is None:
            self._metrics.challenges.labels(route.name).inc()
            return self._outcomes.challenge(incoming, route, quotes[0], "payment_required", entry)
        return await self._paid(presented, incoming, route, quotes, body, hold, entry)

    async def _match(self, incoming: Incoming, hold: Hold) -> tuple[Route, bytes | None]:
        """The route, and the body where finding it (or its price) takes reading that."""
        route = self._pricing.route(incoming, None)
        if route is not None:
            return route, None
        if headers.carries_credential(incoming.fields):
            invite_body(incoming)
        body = await self._read_body(incoming, hold)
        route = self._pricing.route(incoming, body)
        assert route is not None
        return route, body

    async def _read_body(self, incoming: Incoming, hold: Hold) -> bytes:
        return await read_body(incoming, self._bounds.max_body, self._bounds.body_timeout, hold)

    def _credential_names(self, route: Route) -> list[str]:
        return [header for name in route.accept for header in self._rails[name].headers]

    # READ

    async def _paid(
        self,
        presented: tuple[str, str],
        incoming: Incoming,
        route: Route,
        quotes: Sequence[Quote],
        body: bytes | None,
        hold: Hold,
        entry: Entry,
    ) -> Answer:
        header, value = presented
        rail = next(self._rails[name] for name in route.accept if header in self._rails[name].headers)
        try:
            credential = rail.read(header, value, quotes)
        except MalformedCredential as error:
            raise ClientError("malformed_payment", f"{header}: {error}") from error
        if isinstance(credential, Refused):
            self._metrics.refusals.labels(route.name, credential.reason).inc()
            return self._outcomes.challenge(incoming, route, quotes[0], credential.reason, entry)
        if body is None:
            invite_body(incoming)
            body = await self._read_body(incoming, hold)
        digest = request_digest(incoming.method, incoming.target.path, incoming.query, body)
        key = headers.idempotency_key(incoming.fields)
        purchase = Purchase(incoming, route, rail, quotes[0], credential, body, digest, key, hold, entry)
        entry.paid_with(credential)
        return await self._reserve(purchase)

    # RESERVE

    async def _reserve(self, purchase: Purchase) -> Answer:
        claim = _claim(purchase)
        if purchase.credential.refused is not None:
            recorded = await self._store.find(claim.id)
            if recorded is None:
                return self._outcomes.refused(purchase, purchase.credential.refused)
            return await self._outcomes.recorded(purchase, recorded)
        reserved = await self._store.reserve(claim, lease=LEASE, max_attempts=purchase.route.max_attempts)
        if isinstance(reserved, Payment):
            return await self._outcomes.recorded(purchase, reserved)
        self._reached(purchase, State.RESERVED)
        with self._leases.kept(reserved.lease):
            return await self._claimed(purchase, reserved)

    # VERIFY

    async def _claimed(self, purchase: Purchase, claimed: Claimed) -> Answer:
        lease = claimed.lease
        worked = False
        try:
            refused = await self._verify(purchase, claimed)
            if refused is not None:
                return self._outcomes.refused(purchase, refused)
            worked = True
            return await self._work(purchase, lease)
        finally:
            if not worked:
                await self._store.drop(lease)

    async def _verify(self, purchase: Purchase, claimed: Claimed) -> Refused | None:
        started = time.monotonic()

        async def load() -> list[Payment]:
            flying = await self._store.in_flight(purchase.credential.purse)
            return [payment for payment in flying if payment.id != claimed.lease.payment_id]

        others = OtherClaims(claimed.in_flight, load)
        try:
            verdict = await purchase.rail.verify(purchase.credential, others, purchase.quote.work)
        except VerificationUnavailable as error:
            # The reason may name an RPC provider: it is for the operator.
            log.warning("verification", network=purchase.credential.network, reason=str(error))
            raise Unavailable(
                "verification_unavailable", "the payment cannot be verified right now; try again"
            ) from error
        finally:
            self._metrics.verify_seconds.labels(purchase.rail.name).observe(time.monotonic() - started)
        return verdict if isinstance(verdict, Refused) else None

    # FORWARD

    async def _work(self, purchase: Purchase, lease: Lease) -> Answer:
        try:
            fetched = await self._forward(purchase, lease)
        except Problem:
            await self._release(purchase, lease)
            raise
        if fetched.status not in purchase.route.success:
            await self._release(purchase, lease)
            return self._renderer.unpaid(fetched)
        return await self._serve(purchase, lease, fetched)

    async def _forward(self, purchase: Purchase, lease: Lease) -> Fetched:
        started = time.monotonic()
        route = purchase.route
        try:
            return await self._forwarder.fetch(
                purchase.incoming,
                route.upstream,
                purchase.body,
                paid_fields(purchase.credential, lease.payment_id, route.name),
                self._pricing.timeout(route),
                purchase.hold,
            )
        finally:
            purchase.entry.upstream_seconds = time.monotonic() - started
            self._metrics.upstream_seconds.labels(route.upstream).observe(purchase.entry.upstream_seconds)

    async def _release(self, purchase: Purchase, lease: Lease) -> None:
        """Nothing was sold: the same request may use the authorization again."""
        forget = min(purchase.credential.expires_at, time.time() + self._bounds.max_timeout)
        await self._store.advance(
            lease,
            Step(
                to=State.RELEASED,
                since=allowed_from(State.RELEASED),
                in_flight=False,
                forget_at=int(forget * 1000),
            ),
        )
        self._reached(purchase, State.RELEASED)

    # SERVE, SETTLE and RESPOND

    async def _serve(self, purchase: Purchase, lease: Lease, fetched: Fetched) -> Answer:
        """Record the answer and the settlement entry in one step; then wait for the money."""
        recorded = await self._store.advance(
            lease,
            Step(
                to=State.SERVED,
                since=allowed_from(State.SERVED),
                in_flight=True,
                answer=pack(fetched),
                queued=True,
                keep_lease=True,
            ),
        )
        if not recorded:
            raise in_progress()
        self._reached(purchase, State.SERVED)
        payment = await self._settler.wait(
            lease.payment_id, purchase.credential.queue, self._bounds.settle_wait
        )
        return self._outcomes.settled(purchase, payment, fetched)

    def _reached(self, purchase: Purchase, state: State) -> None:
        purchase.entry.state = state
        self._metrics.payments.labels(purchase.route.name, purchase.rail.name, state).inc()


def _claim(purchase: Purchase) -> Claim:
    credential = purchase.credential
    return Claim(
        replay_key=credential.replay_key,
        digest=purchase.digest,
        rail=credential.rail,
        route=purchase.route.name,
        payer=credential.payer,
        amount=credential.amount,
        asset=credential.asset,
        network=credential.network,
        purse=credential.purse,
        queue=credential.queue,
        terms=credential.terms,
        expires_at=credential.expires_at,
        idempotency_key=purchase.key,
    )

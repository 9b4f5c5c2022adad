"""What a paid request is answered with, once it is known what became of its payment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from facilitator.base import Refused
from gateway.accept import Incoming
from gateway.answers import Answer
from gateway.budget import Hold
from gateway.errors import ClientError, Unavailable
from gateway.forward import Fetched
from gateway.headers import Field
from gateway.observe import Metrics
from gateway.payment import Payment, State
from gateway.rails.base import Credential, Quote, Rail
from gateway.render import Entry, Renderer
from gateway.store import Store
from gateway.stored import unpack
from policies.route import Route


@dataclass(frozen=True, slots=True)
class Purchase:
    """One request with a credential whose signature is good."""

    incoming: Incoming
    route: Route
    rail: Rail
    quote: Quote
    credential: Credential
    body: bytes
    digest: str
    key: str | None
    """The client's ``Idempotency-Key``."""
    hold: Hold
    entry: Entry


class Outcomes:
    """Answers for every end a paid request can come to."""

    def __init__(self, rails: Mapping[str, Rail], store: Store, renderer: Renderer, metrics: Metrics) -> None:
        self._rails = rails
        self._store = store
        self._renderer = renderer
        self._metrics = metrics

    def challenge(self, incoming: Incoming, route: Route, quote: Quote, reason: str, entry: Entry) -> Answer:
        challenges = [self._rails[name].challenge(quote, reason) for name in route.accept]
        return self._renderer.challenge(incoming, challenges, reason, entry)

    def refused(self, purchase: Purchase, refused: Refused) -> Answer:
        self._metrics.refusals.labels(purchase.route.name, refused.reason).inc()
        return self.challenge(
            purchase.incoming, purchase.route, purchase.quote, refused.reason, purchase.entry
        )

    async def recorded(self, purchase: Purchase, payment: Payment) -> Answer:
        """Answer from the record: time, balance and nonce are not judged again."""
        purchase.entry.payment = payment
        if payment.digest != purchase.digest:
            raise ClientError(
                "payment_bound_elsewhere", "this authorization pays for another request", status=409
            )
        if payment.state in (State.SETTLED, State.REFUSED, State.UNKNOWN):
            return await self._outcome(purchase, payment)
        if payment.leased:
            raise in_progress()
        if payment.state in (State.RELEASED, State.RESERVED):
            return self.refused(purchase, purchase.credential.refused or Refused("attempts_exhausted"))
        return self._pending(purchase, payment)

    async def _outcome(self, purchase: Purchase, payment: Payment) -> Answer:
        if payment.state is State.UNKNOWN:
            return self._pending(purchase, payment)
        if payment.state is State.REFUSED:
            return self._settlement_refused(purchase, payment)
        if purchase.key is None or purchase.key != payment.idempotency_key:
            raise ClientError(
                "payment_used",
                "this authorization has bought its answer; fetch it with the first request's Idempotency-Key",
                status=409,
            )
        return await self._replay(purchase, payment)

    async def _replay(self, purchase: Purchase, payment: Payment) -> Answer:
        packed = await self._store.answer(payment.id)
        if packed is None:
            gone = ClientError("answer_gone", "the answer is no longer kept", status=410)
            return self._renderer.problem(gone, purchase.entry, [self._receipt(purchase, payment)])
        self._metrics.replays.inc()
        answer = self._respond(purchase, unpack(packed), payment)
        answer.fields.append((b"Idempotent-Replayed", b"true"))
        return answer

    def settled(self, purchase: Purchase, payment: Payment | None, fetched: Fetched) -> Answer:
        purchase.entry.payment = payment
        if payment is not None and payment.state is State.SETTLED:
            return self._respond(purchase, fetched, payment)
        if payment is not None and payment.state is State.REFUSED:
            return self._settlement_refused(purchase, payment)
        return self._pending(purchase, payment)

    def _respond(self, purchase: Purchase, fetched: Fetched, payment: Payment) -> Answer:
        return self._renderer.paid(purchase.incoming, fetched, self._receipt(purchase, payment))

    def _settlement_refused(self, purchase: Purchase, payment: Payment) -> Answer:
        answer = self.refused(purchase, Refused(payment.reason))
        answer.fields.append(self._receipt(purchase, payment, payment.reason))
        return answer

    def _pending(self, purchase: Purchase, payment: Payment | None) -> Answer:
        problem = Unavailable(
            "settlement_pending", "the settlement's outcome is not known yet; ask again, do not pay again"
        )
        receipt = self._receipt(purchase, payment, "settlement_pending")
        return self._renderer.problem(problem, purchase.entry, [receipt])

    def _receipt(self, purchase: Purchase, payment: Payment | None, reason: str | None = None) -> Field:
        transaction = payment.transaction if payment is not None else ""
        return purchase.rail.receipt(purchase.credential.terms, transaction=transaction, reason=reason)


def in_progress() -> ClientError:
    return ClientError(
        "payment_in_progress",
        "this payment is being worked on; ask again",
        status=409,
        headers=[("Retry-After", "1")],
    )

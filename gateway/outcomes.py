"""What a paid request is answered with, once it is known what became of its payment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from gateway.accept import Incoming
from gateway.answers import Answer
from gateway.deliveries import Deliveries
from gateway.errors import ClientError, Unavailable
from gateway.forward import Fetched
from gateway.headers import Field
from gateway.observe import Metrics
from gateway.payment import Payment, Standing, State, Why
from gateway.prepared import Preparing
from gateway.rails.base import Outcome, Quote, Rail, Refusal
from gateway.render import Entry, Renderer
from policies.route import Route

if TYPE_CHECKING:
    from gateway.purchase import Purchase

THIRD_PARTY = "used_by_a_third_party"
"""Why a payment is refund_due that reached us in a way that another store may have served for, too."""
_PAID = frozenset({State.SETTLED, State.REFUND_DUE, State.SERVING})


class Outcomes:
    """Answers for every end a paid request can come to."""

    def __init__(
        self, rails: Mapping[str, Rail], deliveries: Deliveries, renderer: Renderer, metrics: Metrics
    ) -> None:
        self._preparing = Preparing(rails)
        self._deliveries = deliveries
        self._renderer = renderer
        self._metrics = metrics

    def challenge(self, incoming: Incoming, route: Route, quote: Quote, reason: str, entry: Entry) -> Answer:
        """The 402 with every way to pay; Unavailable while there is none."""
        return self._challenge(incoming, route, quote, Refusal(reason), entry)

    def _challenge(
        self, incoming: Incoming, route: Route, quote: Quote, refusal: Refusal, entry: Entry
    ) -> Answer:
        prepared = self._preparing.find(route, quote, refusal)
        if prepared is None:
            raise Unavailable("settlement_unavailable", "payments cannot be settled right now; try again")
        return self._renderer.challenge(incoming, prepared, quote.resource, refusal.reason, entry)

    def refused(self, purchase: Purchase, refusal: Refusal) -> Answer:
        """A fresh challenge that says why, or 403."""
        self._metrics.refusals.labels(purchase.route.name, refusal.reason).inc()
        if refusal.final:
            forbidden = ClientError(refusal.reason, "the payer does not allow this", status=403)
            return self._renderer.problem(forbidden, purchase.entry, members=refusal.members)
        incoming, entry = purchase.incoming, purchase.entry
        return self._challenge(incoming, purchase.route, purchase.quote, refusal, entry)

    def paid(self, purchase: Purchase, payment: Payment, fetched: Fetched) -> Answer:
        """The answer, released; whether the client takes it is noted."""
        answer = self._renderer.paid(purchase.incoming, fetched, self.receipt(purchase, payment))
        answer.at_end(lambda taken: self._deliveries.ended(payment.id, taken and not purchase.client_left))
        return answer

    async def unsettled(self, purchase: Purchase, payment: Payment | None) -> Answer:
        """The end of a purchase whose money is not here: refused with proof, owed back, or not known."""
        if payment is not None and payment.state is State.REFUSED:
            return self._settlement_refused(purchase, payment)
        if payment is not None and payment.state is State.REFUND_DUE:
            raise refund_due()
        if payment is not None:
            await self._deliveries.leave(payment.id)
        return self._pending(purchase, payment)

    def unfinished(self, purchase: Purchase, standing: Standing) -> Answer | None:
        """The answer of a record that has nothing to fetch; None where it has, and who asks may have it."""
        payment, why = standing.payment, standing.why
        if payment.digest != purchase.digest:
            raise _bound_elsewhere(why)
        if payment.state in _PAID:
            return self._fetchable(purchase, standing)
        if payment.state is State.UNKNOWN or why is Why.LOST:
            return self._pending(purchase, payment)
        if payment.state is State.REFUSED:
            return self._settlement_refused(purchase, payment)
        if payment.leased:
            raise in_progress()
        if payment.state not in (State.RELEASED, State.RESERVED):
            return self._pending(purchase, payment)
        if purchase.credential.refused is not None:
            return self.refused(purchase, purchase.credential.refused)
        if payment.attempts < purchase.route.max_attempts:
            return self._pending(purchase, payment)
        return self.refused(purchase, Refusal("attempts_exhausted"))

    def _fetchable(self, purchase: Purchase, standing: Standing) -> Answer | None:
        """Once broadcast, an authorization and its signature are public: they do not prove who asks."""
        payment, why = standing.payment, standing.why
        if payment.reason == THIRD_PARTY:
            raise refund_due()
        if payment.state is State.SERVING and payment.leased:
            if why is Why.LOST:
                return self._pending(purchase, payment)
            raise in_progress()
        if why is Why.SAME and (purchase.key is None or purchase.key != payment.idempotency_key):
            raise ClientError(
                "payment_used",
                "this authorization is used; fetch what it paid for with the first request's "
                "Idempotency-Key, or with a fresh authorization by the same payer if it was lost",
                status=409,
            )
        return None

    def receipt(
        self, purchase: Purchase, payment: Payment | None, reason: str | None = None
    ) -> Sequence[Field]:
        """The receipt fields in the naming of the credential that asks."""
        outcome = Outcome(reason=reason)
        if payment is not None:
            outcome = Outcome(payment.transaction, payment.note, reason)
        return purchase.rail.receipt(purchase.credential.terms, outcome)

    def promise(self, purchase: Purchase, payment_id: str) -> Sequence[Field]:
        """The receipt of a payment that is to be settled later (``settle: deferred``)."""
        return purchase.rail.receipt(purchase.credential.terms, Outcome(promised=payment_id))

    def _settlement_refused(self, purchase: Purchase, payment: Payment) -> Answer:
        answer = self.refused(purchase, purchase.rail.refusal(payment))
        answer.fields += self.receipt(purchase, payment, payment.reason)
        return answer

    def _pending(self, purchase: Purchase, payment: Payment | None) -> Answer:
        problem = Unavailable(
            "settlement_pending", "the settlement's outcome is not known yet; ask again, do not pay again"
        )
        receipt = self.receipt(purchase, payment, "settlement_pending")
        return self._renderer.problem(problem, purchase.entry, receipt)


def in_progress() -> ClientError:
    """Somebody works on this payment."""
    return ClientError(
        "payment_in_progress",
        "this payment is being worked on; ask again",
        status=409,
        headers=[("Retry-After", "1")],
    )


def refund_due() -> ClientError:
    """The money came, but not through us, and others may serve for it (``rails.x402.exclusive: false``)."""
    return ClientError(
        "refund_due", "this authorization was used by somebody else; the seller owes it back", status=409
    )


def _bound_elsewhere(why: Why) -> ClientError:
    if why is Why.KEYED:
        return ClientError(
            "idempotency_key_reused", "this Idempotency-Key was used for another request", status=409
        )
    return ClientError(
        "payment_bound_elsewhere", "this authorization or key pays for another request", status=409
    )

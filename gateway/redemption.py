"""Answers that are paid for: fetched again from the store, or asked of the upstream without a charge."""

from __future__ import annotations

import time
from contextlib import suppress

from gateway import steps
from gateway.answers import Answer, Written
from gateway.deliveries import Deliveries
from gateway.errors import ClientError, Problem, StoreUnavailable
from gateway.forward import Fetched
from gateway.handout import Handout
from gateway.leases import LEASE, Kept, Leases
from gateway.observe import Metrics
from gateway.outcomes import THIRD_PARTY, Outcomes, in_progress
from gateway.payment import REDEEMABLE, Lease, Moment, Payment, Standing, Why
from gateway.presence import Presence
from gateway.purchase import Purchase
from gateway.rails.base import Measure
from gateway.render import Renderer
from gateway.store import Step, Store
from gateway.stored import pack, unpack
from gateway.verifying import Verifier

MOST = 3
"""Times the upstream is asked again for one payment."""
_SAFE = ("GET", "HEAD")


class Redemption:
    """Serves who has paid, under a lease, at most ``MOST`` times from the upstream."""

    def __init__(
        self,
        *,
        store: Store,
        presence: Presence,
        leases: Leases,
        verifier: Verifier,
        handout: Handout,
        deliveries: Deliveries,
        outcomes: Outcomes,
        renderer: Renderer,
        metrics: Metrics,
        replay_window: float,
    ) -> None:
        """``replay_window`` in seconds."""
        self._store = store
        self._presence = presence
        self._leases = leases
        self._verifier = verifier
        self._handout = handout
        self._deliveries = deliveries
        self._outcomes = outcomes
        self._renderer = renderer
        self._metrics = metrics
        self._replay_window = replay_window

    async def answer(self, purchase: Purchase, standing: Standing) -> Answer | Written:
        """Answer from the record. Of its own credential, time, balance and nonce are not judged again."""
        payment = standing.payment
        purchase.entry.payment = payment
        unfinished = self._outcomes.unfinished(purchase, standing)
        if unfinished is not None:
            return unfinished
        if standing.why is Why.LOST:
            refused = await self._verifier.prove(purchase)
            if refused is not None:
                return self._outcomes.refused(purchase, refused)
        packed = await self._store.answer(payment.id)
        if packed is not None:
            return self._replay(purchase, payment, unpack(packed))
        if self._may_ask_again(purchase, payment):
            return await self.hand_out(purchase, payment, again=True)
        return self._gone(purchase, payment)

    def _replay(self, purchase: Purchase, payment: Payment, fetched: Fetched) -> Answer:
        self._metrics.replays.inc()
        answer = self._outcomes.paid(purchase, payment, fetched)
        answer.fields.append((b"Idempotent-Replayed", b"true"))
        return answer

    def _may_ask_again(self, purchase: Purchase, payment: Payment) -> bool:
        """An answer that was never delivered: where asking twice is harmless, or it was paid beforehand."""
        if payment.delivered_at is not None:
            return False
        return payment.moment is Moment.BEFORE or purchase.incoming.method in _SAFE

    def _gone(self, purchase: Purchase, payment: Payment) -> Answer:
        gone = ClientError("answer_gone", "the answer is no longer kept", status=410)
        return self._renderer.problem(gone, purchase.entry, self._outcomes.receipt(purchase, payment))

    def possible(self, payment: Payment) -> bool:
        """Whether what was paid for may be handed out."""
        return payment.state in REDEEMABLE and payment.reason != THIRD_PARTY

    async def hand_out(self, purchase: Purchase, payment: Payment, *, again: bool) -> Answer | Written:
        """Ask the upstream for what is settled, and pass it on; ``again`` counts as a redemption."""
        by, taken_at = await self._presence.name(), time.monotonic()
        lease = await self._store.redeem(payment.id, by=by, lease=LEASE, most=MOST)
        if lease is None:
            return await self._not_now(purchase, payment)
        with self._leases.kept(lease, taken_at) as kept:
            if kept.doubtful:
                raise in_progress()
            return await self._serve(purchase, payment, kept, again)

    async def _not_now(self, purchase: Purchase, payment: Payment) -> Answer:
        """Somebody else serves it, or it was asked for too often."""
        found = await self._store.find(payment.id)
        if found is not None and found.redemptions < MOST:
            raise in_progress()
        return self._gone(purchase, payment)

    async def _serve(self, purchase: Purchase, payment: Payment, kept: Kept, again: bool) -> Answer | Written:
        lease = kept.lease

        async def served(fetched: Fetched | None, there: bool) -> None:
            if not await self._store.advance(lease, self._end(payment, fetched, there, again)):
                raise in_progress()

        receipt = self._outcomes.receipt(purchase, payment)
        if purchase.client_gone:
            await self._failed(payment, lease, "client_gone")
            raise in_progress()
        try:
            streamed = await self._handout.stream(purchase, kept, receipt, Measure(), served, None)
        except Problem as problem:
            await self._failed(payment, lease, problem.code)
            return self._renderer.problem(problem, purchase.entry, receipt)
        if streamed.served:
            return streamed.sent
        if isinstance(streamed.sent, Answer):
            streamed.sent.fields += receipt
        await self._failed(payment, lease, f"upstream_{streamed.sent.status}")
        return streamed.sent

    def _end(self, payment: Payment, fetched: Fetched | None, there: bool, again: bool) -> Step:
        """Handed out; owed still where nobody took it and it could not be kept."""
        if fetched is None and not there and payment.moment is Moment.BEFORE:
            return steps.refund_due("answer_lost", again=True)
        answer = None if fetched is None else pack(fetched)
        return steps.handed_out(answer, self._keep_until(payment), again=again)

    async def _failed(self, payment: Payment, lease: Lease, reason: str) -> None:
        """Still owed. Without the store the lease runs out, and the sender of its queue says the same."""
        if payment.moment is Moment.BEFORE:
            step = steps.refund_due(reason)
        else:
            step = steps.handed_out(None, self._keep_until(payment), again=False)
        with suppress(StoreUnavailable):
            await self._store.advance(lease, step)
        await self._deliveries.leave(payment.id)

    def _keep_until(self, payment: Payment) -> float:
        return max(payment.expires_at, time.time() + self._replay_window)

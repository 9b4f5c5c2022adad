"""The flow of one paid request, in order. Nothing else in the project says order.

    accept -> match -> challenge
           -> read -> reserve -> verify -> after:     forward -> serve -> settle -> respond
                                        -> before:    settle -> forward -> respond
                                        -> deferred:  forward -> serve -> respond

Reserve answers from the record, or claims. Every step that changes what may happen to money is durable
before its effect.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from aiohttp import web

from facilitator.crashpoints import reach
from gateway import steps
from gateway.accept import still_there
from gateway.answers import Answer, Written
from gateway.budget import Budget
from gateway.deliveries import Deliveries
from gateway.errors import Problem
from gateway.forward import Fetched
from gateway.handout import Handout
from gateway.intake import Intake, Later
from gateway.leases import LEASE, Kept, Leases
from gateway.observe import Metrics
from gateway.orphans import Orphans
from gateway.outcomes import Outcomes, in_progress
from gateway.payment import Claim, Claimed, Moment, Payment, Standing, State, Why
from gateway.presence import Presence
from gateway.purchase import Purchase
from gateway.rails.base import Measure
from gateway.redemption import Redemption
from gateway.render import Entry, Renderer
from gateway.settlement import Settler
from gateway.store import Step, Store
from gateway.stored import pack
from gateway.verifying import Verifier


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds."""

    max_timeout: float
    """How long an authorization may be valid."""
    settle_wait: float
    """How long a request waits for its settlement."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A request that is being worked on."""

    entry: Entry
    later: Later


class Exchange:
    """Answers every request of the public listener."""

    def __init__(
        self,
        *,
        intake: Intake,
        store: Store,
        presence: Presence,
        leases: Leases,
        verifier: Verifier,
        orphans: Orphans,
        settler: Settler,
        handout: Handout,
        redemption: Redemption,
        deliveries: Deliveries,
        budget: Budget,
        outcomes: Outcomes,
        renderer: Renderer,
        metrics: Metrics,
        times: Times,
    ) -> None:
        self._intake = intake
        self._store = store
        self._presence = presence
        self._leases = leases
        self._verifier = verifier
        self._orphans = orphans
        self._settler = settler
        self._handout = handout
        self._redemption = redemption
        self._deliveries = deliveries
        self._budget = budget
        self._outcomes = outcomes
        self._renderer = renderer
        self._metrics = metrics
        self._times = times

    def begin(self, request: web.BaseRequest) -> Answer | Begun:
        """The answer where nothing has to be waited for, or what :meth:`go_on` goes on with."""
        entry = Entry(request.method)
        try:
            found = self._intake.look(request, entry)
        except Problem as problem:
            found = self._renderer.problem(problem, entry)
        if isinstance(found, Answer):
            self._renderer.finished(entry, found.status)
            return found
        return Begun(entry, found)

    async def go_on(self, begun: Begun) -> Answer | Written:
        """The listener's handler: every outcome is an answer, every Problem is rendered here."""
        entry, hold = begun.entry, self._budget.hold()
        try:
            found = await self._intake.take(begun.later, hold)
            answer = await self._reserve(found) if isinstance(found, Purchase) else found
        except Problem as problem:
            answer = self._renderer.problem(problem, entry)
        except BaseException:
            hold.release()
            raise
        if isinstance(answer, Answer) and not hold.empty:
            # Until the client's kernel has it, it is our memory that holds it.
            answer.at_end(lambda taken: hold.release())
        else:
            hold.release()
        self._renderer.finished(entry, answer.status, gone_out=isinstance(answer, Written))
        return answer

    # RESERVE

    async def _reserve(self, purchase: Purchase) -> Answer | Written:
        reach("K0")
        claim = purchase.claim()
        if purchase.credential.refused is not None:
            recorded = await self._store.find(claim.id)
            if recorded is None:
                return self._outcomes.refused(purchase, purchase.credential.refused)
            return await self._redemption.answer(purchase, Standing(recorded, Why.SAME))
        taken_at = time.monotonic()
        reserved = await self._claim(purchase, claim)
        if isinstance(reserved, Standing):
            return await self._redemption.answer(purchase, reserved)
        reach("K1")
        self._reached(purchase, State.RESERVED)
        with self._leases.kept(reserved.lease, taken_at) as kept:
            return await self._watched(purchase, reserved, kept)

    async def _claim(self, purchase: Purchase, claim: Claim) -> Claimed | Standing:
        """Claims again where clients that seemed to wait beside this one went with their process."""
        while True:
            by = await self._presence.name()
            reserved = await self._store.reserve(
                claim,
                by=by,
                lease=LEASE,
                max_attempts=purchase.route.max_attempts,
                caps=purchase.caps,
            )
            if isinstance(reserved, Standing):
                holders = frozenset({reserved.payment.client} if reserved.payment.leased else ())
                if not await self._presence.bury_gone(holders):
                    return reserved
            elif await self._presence.bury_gone(reserved.beside, known=True):
                await self._store.drop(reserved.lease)
            else:
                return reserved

    async def _watched(self, purchase: Purchase, claimed: Claimed, kept: Kept) -> Answer | Written:
        """While a payment is worked on, a client that leaves is noted at once."""
        payment_id = kept.lease.payment_id
        purchase.connection.on_ended = lambda: self._deliveries.left(payment_id)
        if purchase.client_left:
            self._deliveries.left(payment_id)
        try:
            return await self._claimed(purchase, claimed, kept)
        except Problem:
            # It will come again; whether this payment is settled by then is not known here.
            await self._deliveries.leave(payment_id)
            raise

    # VERIFY

    async def _claimed(self, purchase: Purchase, claimed: Claimed, kept: Kept) -> Answer | Written:
        worked = False
        try:
            refused = await self._verifier.verify(purchase, claimed)
            if refused is not None:
                self._orphans.suspect(purchase, refused.reason)
                return self._outcomes.refused(purchase, refused)
            if not await still_there(purchase.incoming, purchase.connection):
                # It may be back by now, with another payment: nobody is to pay for this one.
                raise in_progress()
            measure = await purchase.rail.measure(purchase.credential, purchase.wanted)
            worked = True
        finally:
            if not worked:
                await self._store.drop(kept.lease)
        reach("K2")
        if claimed.moment is Moment.BEFORE:
            return await self._before(purchase, kept, measure)
        if claimed.moment is Moment.DEFERRED:
            return await self._deferred(purchase, kept, measure)
        return await self._after(purchase, kept, measure)

    # AFTER: forward, serve, settle, respond

    async def _after(self, purchase: Purchase, kept: Kept, measure: Measure) -> Answer:
        await self._announce(purchase, kept, measure)
        try:
            fetched = await self._handout.fetch(purchase, kept.lease.payment_id, measure)
        except Problem:
            await self._release(purchase, kept)
            raise
        if fetched.status not in purchase.route.success:
            await self._release(purchase, kept)
            return self._renderer.unpaid(fetched)
        await self._take(kept, steps.served(pack(fetched), measure.note(), waits=True))
        self._reached(purchase, State.SERVED)
        reach("K6")
        return await self._respond(purchase, await self._settled(purchase, kept), fetched)

    async def _announce(self, purchase: Purchase, kept: Kept, measure: Measure) -> None:
        """Where a lost answer is to be paid for, that the upstream may have worked must be on record.

        The last look at the lease before the upstream works: no fence guards that, and we may have slept.
        """
        if purchase.route.settle_lost:
            await self._take(kept, steps.about_to_forward(measure.note()))
        if kept.doubtful:
            raise in_progress()

    async def _settled(self, purchase: Purchase, kept: Kept) -> Payment | None:
        payment = await self._settler.wait(
            kept.lease.payment_id, purchase.credential.queue, self._times.settle_wait
        )
        reach("K9")
        purchase.entry.payment = payment
        return payment

    async def _respond(self, purchase: Purchase, payment: Payment | None, fetched: Fetched) -> Answer:
        if payment is not None and payment.state is State.SETTLED:
            return self._outcomes.paid(purchase, payment, fetched)
        return await self._outcomes.unsettled(purchase, payment)

    # BEFORE: settle, forward, respond

    async def _before(self, purchase: Purchase, kept: Kept, measure: Measure) -> Answer | Written:
        await self._take(kept, steps.settle_first(measure.note()))
        self._reached(purchase, State.SETTLING)
        payment = await self._settled(purchase, kept)
        if payment is None or not self._redemption.possible(payment):
            return await self._outcomes.unsettled(purchase, payment)
        return await self._redemption.hand_out(purchase, payment, again=False)

    # DEFERRED: forward, serve, respond; the settlement follows

    async def _deferred(self, purchase: Purchase, kept: Kept, measure: Measure) -> Answer | Written:
        await self._announce(purchase, kept, measure)

        async def served(fetched: Fetched | None, there: bool) -> None:
            answer = None if fetched is None else pack(fetched)
            await self._take(kept, steps.served(answer, measure.note(), waits=False))
            self._reached(purchase, State.SERVED)
            reach("K6")

        deadline = asyncio.get_running_loop().time() + self._settleable(purchase)
        try:
            receipt = self._outcomes.promise(purchase, kept.lease.payment_id)
            answer = await self._handout.stream(purchase, kept, receipt, measure, served, deadline)
        except Problem:
            await self._release(purchase, kept)
            raise
        if not answer.served:
            await self._take_back(purchase, kept, answer.sent)
        return answer.sent

    async def _take_back(self, purchase: Purchase, kept: Kept, sent: Answer | Written) -> None:
        try:
            await self._release(purchase, kept)
        except Problem:
            if isinstance(sent, Answer):
                raise
            # What has begun cannot be answered otherwise.
            await self._deliveries.leave(kept.lease.payment_id)

    def _settleable(self, purchase: Purchase) -> float:
        """Seconds from now within which an answer must be whole for its payment to be settled in time."""
        return purchase.credential.expires_at - time.time() - purchase.credential.settle_within

    # Steps

    async def _take(self, kept: Kept, step: Step) -> None:
        """One step; in_progress where the claim is somebody else's by now."""
        if not await self._store.advance(kept.lease, step):
            raise in_progress()

    async def _release(self, purchase: Purchase, kept: Kept) -> None:
        """Nothing was sold: the same request may use the authorization again. in_progress as ``_take``."""
        forget_at = min(purchase.credential.expires_at, time.time() + self._times.max_timeout)
        await self._take(kept, steps.released(forget_at))
        self._reached(purchase, State.RELEASED)

    def _reached(self, purchase: Purchase, state: State) -> None:
        purchase.entry.state = state
        self._metrics.payments.labels(purchase.route.name, purchase.rail.name, state).inc()

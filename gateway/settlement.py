"""Settling: what is queued is leased, settled, recorded; those who wait are told.

There is one path. A request puts its payment into the queue in the same step that records
the answer, and waits for the outcome; whoever holds the sender's lease does the work, in
this process or in another. A client that hangs up changes nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from itertools import count
from operator import attrgetter
from typing import Any

from facilitator.base import Journal, Refused, Settled, Settlement, Unknown, VerificationUnavailable
from facilitator.crashpoints import reach
from gateway import steps
from gateway.bell import Bell
from gateway.errors import StoreUnavailable
from gateway.journal import StoreJournal
from gateway.leases import LEASE, RENEW, Leases
from gateway.observe import Metrics, line, log
from gateway.outcomes import THIRD_PARTY
from gateway.payment import IN_FLIGHT, Moment, Payment, State, allowed_from
from gateway.presence import Presence
from gateway.rails.base import Rail
from gateway.store import Step, Store

POLL = 0.025
"""Seconds between looks at the queue and at awaited payments of other processes."""
HERE_TOO = 10
"""Every how many of those looks are also at awaited payments that are being settled here."""
QUIET = 0.1
CALM = 2.0
"""Seconds between looks at a queue that had nothing for us for so many seconds."""
PAUSE = 0.25
"""Seconds to wait when the store is down or another process is the sender."""
PATIENCE = 30.0
"""Seconds one lease is spent on a payment of which nothing could be sent."""
TAKEN = 128
"""Payments taken up in one step, and outcomes recorded at once: others wait for the store, too."""
LOOK = 0.00005
"""Seconds more between looks at the queue for each payment under way: they stand in front of the others."""
FINAL = frozenset({State.SETTLED, State.REFUSED, State.UNKNOWN, State.SERVING, State.REFUND_DUE})
_SINCE = {to: allowed_from(to) for to in State}
_values = attrgetter(*Payment.__slots__)


class Settler:
    """Works on the queues of this process's rails while it holds a sender's lease."""

    def __init__(
        self,
        store: Store,
        leases: Leases,
        rails: Sequence[Rail],
        *,
        presence: Presence,
        replay_window: float,
        exclusive: bool,
        metrics: Metrics,
    ) -> None:
        self._store = store
        self._leases = leases
        self._rails = {rail.name: rail for rail in rails}
        self._presence = presence
        self._replay_window = replay_window
        self._exclusive = exclusive
        self._metrics = metrics
        self._waiting: dict[str, asyncio.Future[Payment | None]] = {}
        self._awaited = asyncio.Event()
        """Set while any is waited for."""
        self._work: dict[str, Bell] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._underway: dict[str, set[str]] = {}
        """Payments that are being settled, by queue."""
        self._loops: list[asyncio.Task[None]] = []
        self._recording = asyncio.Semaphore(TAKEN)

    def start(self) -> list[asyncio.Task[None]]:
        """Begin to settle and to watch what is awaited; the tasks end only with :meth:`stop`."""
        self._loops.append(asyncio.create_task(self._watch()))
        for rail in self._rails.values():
            for queue in rail.queues:
                self._work.setdefault(queue, Bell())
                self._underway.setdefault(queue, set())
                self._loops.append(asyncio.create_task(self._serve(rail, queue)))
        return self._loops

    async def stop(self, within: float) -> None:
        """Finish what is being settled within ``within`` seconds; the rest is durable and goes on later."""
        deadline = time.monotonic() + within
        while self._running and time.monotonic() < deadline:
            await asyncio.wait(self._running, timeout=max(0.0, deadline - time.monotonic()))
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        await self._give_up()

    async def wait(self, payment_id: str, queue: str, timeout: float) -> Payment | None:
        """The payment once its settlement has an outcome, or as it stands after ``timeout`` seconds."""
        loop = asyncio.get_running_loop()
        ready = self._waiting.setdefault(payment_id, loop.create_future())
        self._awaited.set()
        if queue in self._work:
            self._work[queue].ring()
        timer = loop.call_later(timeout, self._tell, payment_id, None)
        try:
            with self._metrics.pending.track_inprogress():
                settled = await ready
        finally:
            timer.cancel()
            self._waiting.pop(payment_id, None)
        return _withheld(settled or await self._store.find(payment_id))

    async def _watch(self) -> None:
        """Look how those do that are waited for here and not being settled here; now and then at those,
        too, as we may have slept and lost their leases."""
        for look in count(1):
            await self._awaited.wait()
            await asyncio.sleep(POLL)
            if not self._waiting:
                self._awaited.clear()
            here = self._underway.values() if look % HERE_TOO else ()
            awaited = [each for each in self._waiting if not any(each in ids for ids in here)]
            if not awaited:
                continue
            try:
                states = await self._store.states(awaited)
            except StoreUnavailable:
                await asyncio.sleep(PAUSE)
                continue
            for payment_id, state in states.items():
                if state in FINAL:
                    self._tell(payment_id, None)

    def _tell(self, payment_id: str, payment: Payment | None) -> None:
        """Wake who waits; with the payment where this process settled it, to look for itself otherwise."""
        ready = self._waiting.get(payment_id)
        if ready is not None and not ready.done():
            ready.set_result(payment)

    async def _serve(self, rail: Rail, queue: str) -> None:
        said: object = None
        while True:
            try:
                epoch = await self._store.hold(queue, await self._presence.name(), lease=LEASE)
                if epoch is not None:
                    await self._send(rail, queue, epoch)
            except (StoreUnavailable, VerificationUnavailable) as error:
                if str(error) != said:
                    said = str(error)
                    log.warning("sender", queue=queue, reason=said)
                await asyncio.sleep(LEASE / 4)
            await asyncio.sleep(PAUSE)

    async def _send(self, rail: Rail, queue: str, epoch: int) -> None:
        """Settle what is due until the lease is lost."""
        held_at = time.monotonic()
        journal = StoreJournal(self._store, epoch)
        await rail.resume(queue, journal)
        log.info("sender", queue=queue, epoch=epoch)
        work, underway, calm_at = self._work[queue], self._underway[queue], held_at + CALM
        while True:
            if time.monotonic() - held_at > RENEW:
                if await self._store.hold(queue, await self._presence.name(), lease=LEASE) != epoch:
                    return
                held_at = time.monotonic()
            room = min(rail.at_once(queue) - len(underway), TAKEN)
            found = await self._take_up(rail, queue, journal, room) if room > 0 else 0
            now = time.monotonic()
            if found or underway:
                calm_at = now + CALM
            if found < TAKEN:
                await work.heard(QUIET if now >= calm_at else POLL + LOOK * len(underway))

    async def _take_up(self, rail: Rail, queue: str, journal: StoreJournal, room: int) -> int:
        """Begin with what is due; how much that was."""
        taken_at = time.monotonic()
        by = await self._presence.name()
        due = await self._store.due(queue, by=by, limit=room, lease=LEASE)
        for payment in due:
            if payment.state in (State.SETTLED, State.SERVING):
                await self._owe(payment)
            elif payment.id not in self._underway[queue]:  # we slept, and have not given it up yet
                self._underway[queue].add(payment.id)
                journal.begin(payment)
                self._spawn(rail, queue, payment, journal, taken_at)
        return len(due)

    async def _owe(self, payment: Payment) -> None:
        """Paid for, and nobody is there any more to hand the answer out."""
        if payment.reason == THIRD_PARTY:
            await self._withhold(payment)
        elif payment.moment is not Moment.BEFORE:
            forget_at = self._keep_until(payment)
            await self._store.advance(payment.lease, steps.handed_out(None, forget_at, again=False))
        elif await self._store.advance(payment.lease, steps.refund_due("not_handed_out")):
            log.warning("refund", payment_id=payment.id, reason="not_handed_out")
            self._metrics.payments.labels(payment.route, payment.rail, State.REFUND_DUE).inc()

    def _spawn(
        self, rail: Rail, queue: str, payment: Payment, journal: StoreJournal, taken_at: float
    ) -> None:
        task = asyncio.create_task(self._settle(rail, payment, journal, taken_at))
        self._running.add(task)

        def over(task: asyncio.Task[None]) -> None:
            self._running.discard(task)
            self._underway[queue].discard(payment.id)
            journal.end(payment)

        task.add_done_callback(over)

    async def _settle(self, rail: Rail, payment: Payment, journal: StoreJournal, taken_at: float) -> None:
        """Settle one leased payment; what has no outcome in time stays queued and is leased again later."""
        started = time.monotonic()
        with self._leases.kept(payment.lease, taken_at) as kept:
            while not kept.doubtful and time.monotonic() - started < PATIENCE:
                if await self._attempt(rail, payment, journal, started):
                    return
                await asyncio.sleep(PAUSE)

    async def _attempt(self, rail: Rail, payment: Payment, journal: Journal, started: float) -> bool:
        """One try; False where nothing was sent or the store was down: trying again is idempotent."""
        try:
            outcome = await rail.settle(payment, journal)
            if isinstance(outcome, Unknown) and not outcome.transaction:
                return False
            if (
                isinstance(outcome, Unknown)
                and payment.state is State.UNKNOWN
                and not _news(payment, outcome)
            ):
                return True  # as it stands on record
            reach("K8")
            concluded = self._concluded(payment, outcome)
            async with self._recording:
                recorded = await self._store.advance(payment.lease, self._step(concluded))
            if recorded and concluded.state is State.SETTLED and concluded.reason:
                concluded = await self._withhold(concluded)
        except StoreUnavailable:
            return False
        if recorded:
            self._announce(concluded, time.monotonic() - started)
        return True

    def _concluded(self, payment: Payment, outcome: Settlement) -> Payment:
        note = payment.note if outcome.note is None else outcome.note
        if isinstance(outcome, Settled):
            reason = THIRD_PARTY if outcome.recognised and not self._exclusive else ""
            transaction = outcome.transaction
            return changed(payment, state=State.SETTLED, transaction=transaction, reason=reason, note=note)
        if isinstance(outcome, Refused):
            return changed(payment, state=State.REFUSED, reason=outcome.reason, note=note)
        return changed(
            payment,
            state=State.UNKNOWN,
            transaction=outcome.transaction,
            reason=outcome.reason,
            note=note,
        )

    async def _withhold(self, payment: Payment) -> Payment:
        """Where stores share a ``pay_to``, what a third party sent may have been served for elsewhere:
        the operator gives it back, and the payer may buy again."""
        await self._store.advance(payment.lease, steps.refund_due(THIRD_PARTY))
        await self._store.mark(delivered=[payment.id])
        return changed(payment, state=State.REFUND_DUE)

    def _announce(self, payment: Payment, seconds: float) -> None:
        """Log, count and wake: a settlement has an outcome."""
        told = {"payment_id": payment.id, "state": payment.state, "tx": payment.transaction}
        line("settlement", told | ({"reason": payment.reason} if payment.reason else {}), at_once=True)
        if _lost(payment):
            log.error("loss", payment_id=payment.id, reason=payment.reason)
        self._metrics.settled(payment, seconds)
        self._tell(payment.id, payment)

    def _step(self, concluded: Payment) -> Step:
        """Unknown stays queued; so does what is to be handed out now, until it is."""
        final = concluded.state is not State.UNKNOWN
        owed = concluded.state is State.SETTLED and (
            concluded.moment is Moment.BEFORE or concluded.reason == THIRD_PARTY
        )
        return Step(
            to=concluded.state,
            since=_SINCE[concluded.state],
            in_flight=concluded.state in IN_FLIGHT,
            transaction=concluded.transaction,
            reason=concluded.reason,
            note=concluded.note,
            queued=False if final and not owed else None,
            keep_lease=owed or not final,
            forget_at=int(self._keep_until(concluded) * 1000) if final and not owed else None,
            lost=_lost(concluded),
        )

    def _keep_until(self, payment: Payment) -> float:
        return max(payment.expires_at, time.time() + self._replay_window)

    async def _give_up(self) -> None:
        for rail in self._rails.values():
            for queue in rail.queues:
                try:
                    await self._store.give_up(queue, await self._presence.name())
                except StoreUnavailable:
                    return


def _lost(payment: Payment) -> bool:
    """Served on trust, and the money did not come."""
    return payment.state is State.REFUSED and payment.moment is Moment.DEFERRED


def _news(payment: Payment, outcome: Unknown) -> bool:
    return outcome.note is not None and outcome.note != payment.note


def _withheld(payment: Payment | None) -> Payment | None:
    """What a third party sent is never served, also in the moment before it is recorded as owed back."""
    if payment is None or payment.state is not State.SETTLED or payment.reason != THIRD_PARTY:
        return payment
    return changed(payment, state=State.REFUND_DUE)


def changed(payment: Payment, **changes: Any) -> Payment:
    """As ``dataclasses.replace`` in a third of its time, which tells where it is done for every payment."""
    values = zip(Payment.__slots__, _values(payment), strict=True)
    return Payment(*[changes.get(name, value) for name, value in values])

"""Settling: what is queued is leased, settled, recorded; those who wait are told.

There is one path. A request puts its payment into the queue in the same step that records
the answer, and waits for the outcome; whoever holds the sender's lease does the work, in
this process or in another. A client that hangs up changes nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace

from facilitator.base import Journal, Outgoing, Refused, Settled, Settlement, Unknown, VerificationUnavailable
from gateway.errors import StoreUnavailable
from gateway.leases import LEASE, RENEW, Leases
from gateway.observe import Metrics, log
from gateway.payment import IN_FLIGHT, Payment, State, allowed_from
from gateway.rails.base import Rail
from gateway.store import Step, Store

POLL = 0.025
"""Seconds between looks at the queue and at awaited payments of other processes."""
PAUSE = 0.25
"""Seconds to wait when the store is down or another process is the sender."""
PATIENCE = 30.0
"""Seconds one lease is spent on a payment of which nothing could be sent."""
AT_ONCE = 128
"""Settlements under way at once; the rest waits in the queue, where it is safe."""
FINAL = frozenset({State.SETTLED, State.REFUSED, State.UNKNOWN})


class StoreJournal:
    """The facilitator's journal, kept in the store under the sender's lease."""

    def __init__(self, store: Store, epoch: int) -> None:
        self._store = store
        self._epoch = epoch

    async def record(self, transaction: Outgoing) -> bool:
        """Durable before it is sent; False when the lease went to somebody else."""
        return await self._store.record_transaction(self._epoch, transaction)

    async def close(self, transaction: Outgoing) -> None:
        """No more care needed."""
        await self._store.close_transaction(transaction)

    async def open(self, sender: str) -> list[Outgoing]:
        """Recorded and not closed."""
        return await self._store.open_transactions(sender)

    async def of(self, payment_id: str) -> list[Outgoing]:
        """Everything recorded for one payment."""
        return await self._store.transactions_of(payment_id)


class Settler:
    """Works on the queues of this process's rails while it holds a sender's lease."""

    def __init__(
        self,
        store: Store,
        leases: Leases,
        rails: Sequence[Rail],
        *,
        owner: str,
        replay_window: float,
        metrics: Metrics,
    ) -> None:
        self._store = store
        self._leases = leases
        self._rails = {rail.name: rail for rail in rails}
        self._owner = owner
        self._replay_window = replay_window
        self._metrics = metrics
        self._waiting: dict[str, asyncio.Future[Payment | None]] = {}
        self._work: dict[str, asyncio.Event] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._loops: list[asyncio.Task[None]] = []

    def start(self) -> list[asyncio.Task[None]]:
        """Begin to settle and to watch what is awaited; the tasks end only with :meth:`stop`."""
        self._loops.append(asyncio.create_task(self._watch()))
        for rail in self._rails.values():
            for queue in rail.queues:
                self._work.setdefault(queue, asyncio.Event())
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
        ready = self._waiting.setdefault(payment_id, asyncio.get_running_loop().create_future())
        if queue in self._work:
            self._work[queue].set()
        settled: Payment | None = None
        try:
            with self._metrics.pending.track_inprogress():
                async with asyncio.timeout(timeout):
                    settled = await ready
        except TimeoutError:
            pass
        finally:
            self._waiting.pop(payment_id, None)
        return settled or await self._store.find(payment_id)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(POLL)
            if not self._waiting:
                continue
            try:
                states = await self._store.states(list(self._waiting))
            except StoreUnavailable:
                await asyncio.sleep(PAUSE)
                continue
            for payment_id, state in states.items():
                if state in FINAL:
                    self._tell(payment_id, None)

    def _tell(self, payment_id: str, payment: Payment | None) -> None:
        """Wake who waits; with the payment where this process settled it, to be read again otherwise."""
        ready = self._waiting.get(payment_id)
        if ready is not None and not ready.done():
            ready.set_result(payment)

    async def _serve(self, rail: Rail, queue: str) -> None:
        said: object = None
        while True:
            try:
                epoch = await self._store.hold(queue, self._owner, lease=LEASE)
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
        journal = StoreJournal(self._store, epoch)
        await rail.resume(queue, journal)
        log.info("sender", queue=queue, epoch=epoch)
        held_at = time.monotonic()
        while True:
            if time.monotonic() - held_at > RENEW:
                if await self._store.hold(queue, self._owner, lease=LEASE) != epoch:
                    return
                held_at = time.monotonic()
            work = self._work[queue]
            work.clear()
            room = AT_ONCE - len(self._running)
            payments = await self._store.due(queue, limit=room, lease=LEASE) if room > 0 else []
            for payment in payments:
                self._spawn(rail, payment, journal)
            await _either(work, POLL)

    def _spawn(self, rail: Rail, payment: Payment, journal: Journal) -> None:
        task = asyncio.create_task(self._settle(rail, payment, journal))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _settle(self, rail: Rail, payment: Payment, journal: Journal) -> None:
        """Settle one leased payment; what has no outcome in time stays queued and is leased again later."""
        started = time.monotonic()
        with self._leases.kept(payment.lease) as kept:
            while not kept.lost and time.monotonic() - started < PATIENCE:
                if await self._attempt(rail, payment, journal, started):
                    return
                await asyncio.sleep(PAUSE)

    async def _attempt(self, rail: Rail, payment: Payment, journal: Journal, started: float) -> bool:
        """One try; False where nothing was sent or the store was down: trying again is idempotent."""
        try:
            outcome = await rail.settle(payment, journal)
            if isinstance(outcome, Unknown) and not outcome.transaction:
                return False
            concluded = _concluded(payment, outcome)
            recorded = await self._store.advance(payment.lease, self._step(concluded))
        except StoreUnavailable:
            return False
        if recorded:
            found = {
                "state": concluded.state,
                "reason": concluded.reason or None,
                "tx": concluded.transaction,
            }
            log.info("settlement", payment_id=payment.id, **found)
            self._metrics.settled(concluded, time.monotonic() - started)
            self._tell(payment.id, concluded)
        return True

    def _step(self, concluded: Payment) -> Step:
        final = concluded.state is not State.UNKNOWN
        keep_until = max(concluded.expires_at, int(time.time() + self._replay_window))
        return Step(
            to=concluded.state,
            since=allowed_from(concluded.state),
            in_flight=concluded.state in IN_FLIGHT,
            transaction=concluded.transaction,
            reason=concluded.reason,
            queued=False if final else None,
            keep_lease=not final,
            forget_at=keep_until * 1000 if final else None,
        )

    async def _give_up(self) -> None:
        for rail in self._rails.values():
            for queue in rail.queues:
                try:
                    await self._store.give_up(queue, self._owner)
                except StoreUnavailable:
                    return


def _concluded(payment: Payment, outcome: Settlement) -> Payment:
    if isinstance(outcome, Settled):
        return replace(payment, state=State.SETTLED, transaction=outcome.transaction, reason="")
    if isinstance(outcome, Refused):
        return replace(payment, state=State.REFUSED, reason=outcome.reason)
    return replace(payment, state=State.UNKNOWN, transaction=outcome.transaction, reason=outcome.reason)


async def _either(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass

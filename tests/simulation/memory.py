"""The store as its protocol says it, on dictionaries: every call one step, one clock, no fault.

Simulated gateways keep their payments in it, and what the real stores do is compared with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from facilitator.base import Outgoing
from gateway.payment import (
    LOSS_KEPT,
    OWED,
    READY,
    REDEEMABLE,
    TAKEN_UP_AGAIN,
    TO_SETTLE,
    Caps,
    Claim,
    Claimed,
    Instance,
    Lease,
    Moment,
    Orphan,
    Payment,
    Standing,
    State,
    Why,
)
from gateway.store import SILENT, Step

ABANDONED = 30.0
"""Seconds after which a claim whose lease has ended goes back to released."""


@dataclass(slots=True)
class Record:
    """One payment. Times are the store's clock in seconds."""

    claim: Claim
    created_at: float
    updated_at: float = 0.0
    state: State = State.RESERVED
    fence: int = 0
    attempts: int = 0
    leased_until: float = 0.0
    holder: str = ""
    in_flight: bool = True
    queued: tuple[int, str] | None = None
    """Its place, by the order of joining, and the queue."""
    transaction: str = ""
    reason: str = ""
    note: bytes = b""
    answer: bytes | None = None
    moment: Moment = Moment.AFTER
    exposure: int = 0
    client: str = ""
    left: bool = False
    delivered_at: float | None = None
    settled_at: float | None = None
    redemptions: int = 0
    forget_at: int | None = None
    history: list[tuple[State, int]] = field(default_factory=list)


@dataclass(slots=True)
class Hold:
    """A named lease."""

    owner: str
    until: float
    epoch: int


class MemoryStore:
    """See :class:`gateway.store.Store`; the methods are plain functions, a step each."""

    def __init__(
        self, clock: Callable[[], float], *, redeem_window: float, released: float, max_answer: int
    ) -> None:
        """``clock`` gives unix seconds; ``released``: seconds an abandoned claim is remembered."""
        self._clock = clock
        self._redeem_window = redeem_window
        self._released = released
        self._max_answer = max_answer
        self.records: dict[str, Record] = {}
        self.keyed: dict[tuple[str, str, str], str] = {}
        self.known: dict[str, Instance] = {}
        self.signs: dict[str, float] = {}
        self.holds: dict[str, Hold] = {}
        self.journal: list[Outgoing] = []
        self.closed: set[tuple[str, str]] = set()
        self.found: list[Orphan] = []
        self.losses: dict[str, tuple[str, int, float]] = {}
        """Payer, exposure and end of each loss that counts, by payment."""
        self.facts: dict[str, tuple[bytes, float]] = {}
        """Value and end, by name."""
        self._fence = 0
        self._joined = 0

    def ping(self) -> None:
        """Always."""

    # Instances

    def arrive(self, instance: Instance) -> None:
        """Those of its slot with another run or the same number are dead from now on."""
        for name, other in list(self.known.items()):
            forerunner = other.run != instance.run or other.number == instance.number
            if other.slot == instance.slot and forerunner:
                self.bury(name)
        self.known[instance.name] = instance
        self.signs[instance.name] = self._clock()

    def beat(self, name: str) -> bool:
        """A sign of life."""
        if name not in self.known:
            return False
        self.signs[name] = self._clock()
        return True

    def bury(self, name: str) -> None:
        """Dead."""
        self.known.pop(name, None)
        self.signs.pop(name, None)

    def instances(self) -> list[Instance]:
        """Those that are not dead."""
        return list(self.known.values())

    def silent(self, name: str) -> bool:
        """Dead, or without a sign for longer than SILENT."""
        return name not in self.known or self._clock() - self.signs[name] > SILENT

    def leased(self, record: Record) -> bool:
        """Under a live lease."""
        return record.leased_until > self._clock() and record.holder in self.known

    # Claims

    def reserve(
        self, claim: Claim, *, by: str, lease: float, max_attempts: int, caps: Caps | None = None
    ) -> Claimed | Standing:
        """Claim, or what stands in the way."""
        self._forget()
        same = self.records.get(claim.id)
        if same is not None and not self._claimable(same, claim, max_attempts):
            return Standing(self.copy(same), Why.SAME)
        keyed = self._keyed(claim)
        if keyed is not None and keyed is not same and self._binds(keyed):
            return Standing(self.copy(keyed), Why.KEYED)
        lost, beside = self._lost(claim, same)
        if lost is not None:
            return Standing(self.copy(lost), Why.LOST)
        return self._claim(claim, same, by, lease, caps, beside)

    def _claimable(self, record: Record, claim: Claim, max_attempts: int) -> bool:
        if record.claim.digest != claim.digest or record.attempts >= max_attempts:
            return False
        return record.state is State.RELEASED or self._abandoned(record)

    def _abandoned(self, record: Record) -> bool:
        return record.state is State.RESERVED and not self.leased(record) and record.queued is None

    def _keyed(self, claim: Claim) -> Record | None:
        if claim.idempotency_key is None:
            return None
        return self.records.get(self.keyed.get((claim.payer, claim.route, claim.idempotency_key), ""))

    def _binds(self, record: Record) -> bool:
        return record.state not in (State.RELEASED, State.REFUSED) and not self._abandoned(record)

    def _lost(self, claim: Claim, same: Record | None) -> tuple[Record | None, frozenset[str]]:
        found: list[tuple[int, float, Record]] = []
        beside = set()
        for record in self.records.values():
            if not self._same_request(record, claim):
                continue
            if not record.left and not self.silent(record.client):
                beside.add(record.client)
                continue
            if record is same or not self._owes(record):
                continue
            paid = record.state in REDEEMABLE
            found.append((0 if paid else 1, record.created_at, record))
        first = min(found, key=lambda each: each[:2], default=None)
        return (None if first is None else first[2]), frozenset(beside)

    def _same_request(self, record: Record, claim: Claim) -> bool:
        """Whether the record's answer is what the claim asks for, and perhaps still to come."""
        mine = record.claim
        if mine.payer != claim.payer or mine.digest != claim.digest or record.delivered_at is not None:
            return False
        return record.state in OWED or record.state is State.RESERVED

    def _owes(self, record: Record) -> bool:
        """Whether it is still to come."""
        if record.state is State.SETTLED and record.settled_at is not None:
            return self._clock() - record.settled_at < self._redeem_window
        if record.state is State.RESERVED:
            return self.leased(record) or record.queued is not None
        return record.state in OWED

    def _claim(
        self,
        claim: Claim,
        record: Record | None,
        by: str,
        lease: float,
        caps: Caps | None,
        beside: frozenset[str],
    ) -> Claimed:
        now = self._clock()
        moment = self._moment(claim, record, caps)
        if record is None:
            record = self.records[claim.id] = Record(claim, created_at=now)
        else:
            self._give_back_key(record.claim)
        record.claim, record.moment = claim, moment
        record.exposure = claim.exposure if moment is Moment.DEFERRED else 0
        record.in_flight, record.answer, record.reason, record.note = True, None, "", b""
        record.client, record.left, record.delivered_at, record.forget_at = by, False, None, None
        record.attempts += 1
        self._enter(record, State.RESERVED, again=True)
        self._lease(record, by, lease)
        if claim.idempotency_key is not None:
            self.keyed[(claim.payer, claim.route, claim.idempotency_key)] = claim.id
        flying = sum(each.amount for each in self.in_flight(claim.purse) if each.id != claim.id)
        created = int(record.created_at * 1000)
        return Claimed(Lease(claim.id, record.fence), record.attempts, created, flying, moment, beside)

    def _moment(self, claim: Claim, same: Record | None, caps: Caps | None) -> Moment:
        if claim.moment is not Moment.DEFERRED:
            return claim.moment
        if any(payer == claim.payer for payer, _, end in self.losses.values() if end > self._clock()):
            return Moment.AFTER
        own, total = self.exposure(claim.payer, besides=same)
        if caps is None:
            return Moment.DEFERRED
        fits = total + claim.exposure <= caps.total and own + claim.exposure <= caps.per_payer
        return Moment.DEFERRED if fits else Moment.AFTER

    def exposure(self, payer: str, besides: Record | None = None) -> tuple[int, int]:
        """What deferred payments put at risk: by this payer, and in all."""
        now = self._clock()
        counted = [(each.claim.payer, each.exposure) for each in self.records.values() if each is not besides]
        counted += [(whose, amount) for whose, amount, end in self.losses.values() if end > now]
        return sum(amount for whose, amount in counted if whose == payer), sum(each[1] for each in counted)

    def _lease(self, record: Record, by: str, lease: float) -> None:
        self._fence += 1
        record.fence, record.holder = self._fence, by
        record.leased_until = self._clock() + lease

    def _enter(self, record: Record, state: State, *, again: bool = False) -> None:
        now = self._clock()
        if record.state is not state or again:
            record.history.append((state, int(now * 1000)))
        if state is State.SETTLED and record.settled_at is None:
            record.settled_at = now
        record.state, record.updated_at = state, now

    # Steps

    def drop(self, lease: Lease) -> bool:
        """Forget a claim that never came to work."""
        record = self._ours(lease)
        if record is None or record.state is not State.RESERVED or record.queued is not None:
            return False
        if record.attempts > 1:
            self._release(record)
        else:
            self._delete(lease.payment_id)
        return True

    def _release(self, record: Record) -> None:
        self._enter(record, State.RELEASED)
        self._fence += 1
        record.fence, record.leased_until, record.in_flight = self._fence, 0.0, False
        record.exposure = 0
        until = min(record.claim.expires_at, self._clock() + self._released)
        record.forget_at = record.forget_at or int(until * 1000)

    def advance(self, lease: Lease, step: Step) -> bool:
        """Take one step."""
        record = self._ours(lease)
        if record is None or record.state not in step.since:
            return False
        if self._abandoned(record):
            return False
        self._enter(record, step.to)
        record.in_flight, record.forget_at = step.in_flight, step.forget_at
        record.transaction = record.transaction if step.transaction is None else step.transaction
        record.reason = record.reason if step.reason is None else step.reason
        record.note = record.note if step.note is None else step.note
        record.redemptions += step.redeemed
        if step.answer is not None and len(step.answer) <= self._max_answer:
            record.answer = step.answer
        self._count(record, step)
        if step.queued is not None:
            self._queue(record, step.queued)
        if not step.keep_lease:
            record.leased_until = 0.0
        return True

    def _count(self, record: Record, step: Step) -> None:
        loss = (record.claim.payer, record.exposure, self._clock() + LOSS_KEPT)
        if step.lost and record.exposure:
            self.losses.setdefault(record.claim.id, loss)
        if step.lost or not step.in_flight:
            record.exposure = 0
        if step.to is State.SETTLED:
            self.losses.pop(record.claim.id, None)

    def _queue(self, record: Record, join: bool) -> None:
        if not join:
            record.queued = None
        elif record.queued is None:
            self._joined += 1
            record.queued = (self._joined, record.claim.queue)

    def _ours(self, lease: Lease) -> Record | None:
        record = self.records.get(lease.payment_id)
        return record if record is not None and record.fence == lease.fence else None

    def renew(self, leases: Sequence[Lease], *, lease: float) -> frozenset[str]:
        """Lengthen leases that are still live."""
        ours = [record for each in leases if (record := self._ours(each)) is not None and self.leased(record)]
        for record in ours:
            record.leased_until = max(record.leased_until, self._clock() + lease)
        return frozenset(record.claim.id for record in ours)

    def due(self, queue: str, *, by: str, limit: int, lease: float) -> list[Payment]:
        """Lease what is queued, oldest first."""
        self._forget()
        waiting = [each for each in self.records.values() if each.queued and each.queued[1] == queue]
        ready = sorted(filter(self._due, waiting), key=lambda each: each.queued or ())
        for record in ready[:limit]:
            if record.state in TO_SETTLE:
                self._enter(record, State.SETTLING)
            self._lease(record, by, lease)
        return [self.copy(record) for record in ready[:limit]]

    def _due(self, record: Record) -> bool:
        if record.state is READY:
            return True
        return record.state in TAKEN_UP_AGAIN and not self.leased(record)

    def redeem(self, payment_id: str, *, by: str, lease: float, most: int) -> Lease | None:
        """Lease what is paid for, to serve it."""
        record = self.records.get(payment_id)
        if record is None or record.redemptions >= most:
            return None
        abandoned = record.state is State.SERVING and not self.leased(record)
        if record.state not in REDEEMABLE and not abandoned:
            return None
        self._enter(record, State.SERVING)
        self._queue(record, True)
        self._lease(record, by, lease)
        return Lease(payment_id, record.fence)

    def mark(self, *, delivered: Sequence[str] = (), left: Sequence[str] = ()) -> None:
        """What became of answers."""
        for payment_id in delivered:
            if (record := self.records.get(payment_id)) is not None and record.delivered_at is None:
                record.delivered_at = self._clock()
        for payment_id in left:
            if (record := self.records.get(payment_id)) is not None and record.delivered_at is None:
                record.left = True

    # Reading

    def find(self, payment_id: str) -> Payment | None:
        """The record."""
        self._forget()
        record = self.records.get(payment_id)
        return None if record is None else self.copy(record)

    def in_flight(self, purse: str) -> list[Payment]:
        """The purse's claims in flight."""
        mine = [each for each in self.records.values() if each.in_flight and each.claim.purse == purse]
        return [self.copy(record) for record in mine]

    def states(self, payment_ids: Sequence[str]) -> dict[str, State]:
        """The states of those that are on record."""
        return {key: self.records[key].state for key in payment_ids if key in self.records}

    def listing(
        self, *, state: State | None, route: str | None, limit: int, cursor: str | None
    ) -> tuple[list[Payment], str | None]:
        """Newest first."""
        start = int(cursor or 0)
        found = [
            each
            for each in reversed(self.records.values())
            if state in (None, each.state) and route in (None, each.claim.route)
        ]
        page = [self.copy(record) for record in found[start : start + limit]]
        return page, str(start + limit) if len(found) > start + limit else None

    def answer(self, payment_id: str) -> bytes | None:
        """The stored answer."""
        record = self.records.get(payment_id)
        return None if record is None else record.answer

    # Named leases, journal, orphans

    def hold(self, name: str, owner: str, *, lease: float) -> int | None:
        """Take or lengthen a named lease."""
        now, held = self._clock(), self.holds.get(name)
        live = held is not None and held.until > now and held.owner in self.known
        if held is not None and live and held.owner != owner:
            return None
        epoch = (held.epoch if held is not None else 0) + (not live)
        until = max(held.until, now + lease) if held is not None and live else now + lease
        self.holds[name] = Hold(owner, until, epoch)
        return epoch

    def give_up(self, name: str, owner: str) -> None:
        """End a lease early."""
        held = self.holds.get(name)
        if held is not None and held.owner == owner:
            held.until = 0.0

    def record_transaction(self, epoch: int, transaction: Outgoing) -> bool:
        """Durable before it is sent."""
        held = self.holds.get(transaction.sender)
        if held is None or held.epoch != epoch or held.until <= self._clock():
            return False
        if held.owner not in self.known:
            return False
        self.journal.append(replace(transaction, open=True))
        if not transaction.open:
            self.close_transaction(transaction)
        return True

    def close_transaction(self, transaction: Outgoing) -> None:
        """No more care."""
        self.closed.add((transaction.sender, transaction.hash))

    def open_transactions(self, sender: str) -> list[Outgoing]:
        """Lowest nonce first."""
        mine = [each for each in self.journal if each.sender == sender]
        kept = [each for each in mine if (sender, each.hash) not in self.closed]
        return sorted(kept, key=lambda each: each.nonce)

    def transactions_of(self, payment_id: str) -> list[Outgoing]:
        """In order, closed ones too."""
        return [each for each in self.journal if payment_id in each.payment_ids]

    def recorded(self, payment_ids: Sequence[str]) -> frozenset[str]:
        """Those with anything in the journal."""
        return frozenset(each for each in payment_ids if self.transactions_of(each))

    def note_orphan(self, orphan: Orphan) -> bool:
        """Keep a finding once."""
        known = any(each.replay_key == orphan.replay_key for each in self.found)
        if known or any(each.claim.replay_key == orphan.replay_key for each in self.records.values()):
            return False
        self.found.append(replace(orphan, found_at=int(self._clock() * 1000)))
        return True

    def orphans(self) -> list[Orphan]:
        """The newest thousand, newest first."""
        return self.found[:-1001:-1]

    # Facts

    def remember(self, name: str, value: bytes, *, seconds: float) -> None:
        """The last one said wins, with its time."""
        self.facts[name] = value, self._clock() + seconds

    def forget(self, name: str) -> None:
        """No such fact any more."""
        self.facts.pop(name, None)

    def recall(self, names: Sequence[str]) -> list[bytes | None]:
        """In the order of the names."""
        found = (self.facts.get(name, (b"", 0.0)) for name in names)
        return [value if until > self._clock() else None for value, until in found]

    # Lifetimes

    def _forget(self) -> None:
        now = int(self._clock() * 1000)
        for key, record in list(self.records.items()):
            free = not record.in_flight and record.queued is None
            if free and record.forget_at is not None and record.forget_at <= now:
                self._delete(key)
            elif self._left_behind(record):
                self._release(record)

    def _left_behind(self, record: Record) -> bool:
        if record.state is not State.RESERVED or record.queued is not None:
            return False
        return max(record.leased_until, record.updated_at) + ABANDONED <= self._clock()

    def _delete(self, payment_id: str) -> None:
        self._give_back_key(self.records.pop(payment_id).claim)

    def _give_back_key(self, claim: Claim) -> None:
        key = (claim.payer, claim.route, claim.idempotency_key or "")
        if self.keyed.get(key) == claim.id:
            del self.keyed[key]

    def copy(self, record: Record) -> Payment:
        """The record as the protocol shows it."""
        claim = record.claim
        leased_until = record.leased_until if record.holder in self.known else 0.0
        return Payment(
            id=claim.id,
            state=record.state,
            fence=record.fence,
            attempts=record.attempts,
            digest=claim.digest,
            rail=claim.rail,
            route=claim.route,
            payer=claim.payer,
            amount=claim.amount,
            asset=claim.asset,
            network=claim.network,
            queue=claim.queue,
            terms=claim.terms,
            expires_at=claim.expires_at,
            idempotency_key=claim.idempotency_key,
            created_at=int(record.created_at * 1000),
            updated_at=int(record.updated_at * 1000),
            leased_until=int(leased_until * 1000),
            read_at=int(self._clock() * 1000),
            transaction=record.transaction,
            reason=record.reason,
            history=tuple(record.history),
            moment=record.moment,
            client=record.client,
            left=record.left or (record.delivered_at is None and self.silent(record.client)),
            delivered_at=None if record.delivered_at is None else int(record.delivered_at * 1000),
            settled_at=None if record.settled_at is None else int(record.settled_at * 1000),
            redemptions=record.redemptions,
            note=record.note,
        )

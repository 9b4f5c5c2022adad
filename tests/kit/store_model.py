"""What a store promises, as plainly as it can be said: dictionaries and lists, no clock, no I/O.

A lease (and a fact) is either long or lapsed at once, an instance either there or dead, a settlement
either fresh or longer ago than the redeem window, so that time plays no part.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.payment import (
    OWED,
    REDEEMABLE,
    TAKEN_UP_AGAIN,
    TO_SETTLE,
    Caps,
    Claim,
    Instance,
    Moment,
    State,
    Why,
)
from gateway.store import Step


@dataclass
class Record:
    """One payment."""

    claim: Claim
    fence: int = 0
    state: State = State.RESERVED
    attempts: int = 0
    leased: bool = False
    holder: str = ""
    client: str = ""
    left: bool = False
    delivered: bool = False
    settled: str = ""
    """Nothing, "fresh" or "old"."""
    redemptions: int = 0
    moment: Moment = Moment.AFTER
    exposed: int = 0
    in_flight: bool = True
    queued: str | None = None
    transaction: str = ""
    reason: str = ""
    note: bytes = b""
    answer: bytes | None = None
    history: list[State] = field(default_factory=list)

    def enter(self, state: State) -> None:
        if self.state is not state:
            self.history.append(state)
        self.state = state

    @property
    def request(self) -> tuple[str, str]:
        return self.claim.payer, self.claim.digest

    @property
    def spare(self) -> bool:
        """Its answer may make room for others."""
        return not self.in_flight and (self.delivered or self.state not in OWED)


Outcome = tuple[Why, str] | tuple[int, int, Moment, frozenset[str]]
"""What is in the way; or attempt, in flight elsewhere, moment, beside."""


class Model:
    """``records`` by creation, ``queue`` in the order of joining, ``free`` answers oldest first."""

    def __init__(self, max_answer: int, max_answers: int) -> None:
        self.records: dict[str, Record] = {}
        self.instances: dict[str, Instance] = {}
        self.facts: dict[str, bytes] = {}
        self.queue: list[str] = []
        self.free: list[str] = []
        self._keyed: dict[tuple[str, str, str], str] = {}
        self._losses: dict[str, tuple[str, int]] = {}
        self._holds: dict[str, tuple[str, int, bool]] = {}
        self._max_answer = max_answer
        self._max_answers = max_answers
        self._fence = 0

    # Instances

    def arrive(self, new: Instance) -> None:
        for old in list(self.instances.values()):
            if old.slot == new.slot and (old.run != new.run or old.number == new.number):
                del self.instances[old.name]
        self.instances[new.name] = new

    def live(self, record: Record) -> bool:
        return record.leased and record.holder in self.instances

    def gone(self, record: Record) -> bool:
        return record.left or record.client not in self.instances

    def hold(self, name: str, owner: str, leased: bool) -> int | None:
        holder, epoch, held = self._holds.get(name, ("", 0, False))
        free = not held or holder not in self.instances
        if not free and holder != owner:
            return None
        self._holds[name] = (owner, epoch + free, leased or (held and not free))
        return epoch + free

    # Claims

    def reserve(self, claim: Claim, by: str, leased: bool, max_attempts: int, caps: Caps | None) -> Outcome:
        if (standing := self._in_the_way(claim, max_attempts)) is not None:
            return standing
        beside = frozenset(one.client for one in self._owed(claim) if not self.gone(one))
        record = self.records.setdefault(claim.id, Record(claim))
        self._drop_answer(record)
        self._give_back_key(record)
        record.claim, record.in_flight, record.reason, record.note = claim, True, "", b""
        record.leased, record.holder, record.client = leased, by, by
        record.left = record.delivered = False
        record.exposed = 0
        record.moment = self._moment(claim, caps)
        record.exposed = claim.exposure if record.moment is Moment.DEFERRED else 0
        record.state = State.RESERVED
        record.history.append(State.RESERVED)
        record.attempts += 1
        record.fence = self._next_fence()
        if (key := _key(claim)) is not None:
            self._keyed[key] = claim.id
        others = [one for one in self.in_flight(claim.purse) if one is not record]
        return record.attempts, sum(one.claim.amount for one in others), record.moment, beside

    def _in_the_way(self, claim: Claim, max_attempts: int) -> tuple[Why, str] | None:
        same = self.records.get(claim.id)
        if same is not None and not (
            same.claim.digest == claim.digest and same.attempts < max_attempts and self._open(same)
        ):
            return Why.SAME, claim.id
        keyed = self._keyed_record(claim)
        if keyed is not None and keyed.state is not State.REFUSED and not self._open(keyed):
            return Why.KEYED, keyed.claim.id
        lost = [one for one in self._owed(claim) if self.gone(one) and self._stands(one)]
        lost.sort(key=lambda one: one.state not in REDEEMABLE)
        return (Why.LOST, lost[0].claim.id) if lost else None

    def _open(self, record: Record) -> bool:
        abandoned = record.state is State.RESERVED and not self.live(record) and record.queued is None
        return record.state is State.RELEASED or abandoned

    def _keyed_record(self, claim: Claim) -> Record | None:
        key = _key(claim)
        return self.records.get(self._keyed.get(key, "")) if key is not None else None

    def _owed(self, claim: Claim) -> list[Record]:
        """Undelivered, and perhaps paid for."""
        request = (claim.payer, claim.digest)
        return [
            one
            for one in self.records.values()
            if one.request == request and not one.delivered and one.state in OWED | {State.RESERVED}
        ]

    def _stands(self, record: Record) -> bool:
        if record.state is State.SETTLED:
            return record.settled == "fresh"
        if record.state is State.RESERVED:
            return self.live(record) or record.queued is not None
        return True

    def _moment(self, claim: Claim, caps: Caps | None) -> Moment:
        if claim.moment is not Moment.DEFERRED:
            return claim.moment
        exposures = [(one.claim.payer, one.exposed) for one in self.records.values()]
        exposures += self._losses.values()
        own = sum(amount for payer, amount in exposures if payer == claim.payer)
        total = sum(amount for _, amount in exposures)
        lost = any(payer == claim.payer for payer, _ in self._losses.values())
        if lost or (caps and (own + claim.exposure > caps.per_payer or total + claim.exposure > caps.total)):
            return Moment.AFTER
        return Moment.DEFERRED

    def _give_back_key(self, record: Record) -> None:
        key = _key(record.claim)
        if key is not None and self._keyed.get(key) == record.claim.id:
            del self._keyed[key]

    def _next_fence(self) -> int:
        self._fence += 1
        return self._fence

    def in_flight(self, purse: str) -> list[Record]:
        return [one for one in self.records.values() if one.in_flight and one.claim.purse == purse]

    def drop(self, payment_id: str, fence: int) -> bool:
        record = self.records.get(payment_id)
        if record is None or record.fence != fence:
            return False
        if record.state is not State.RESERVED or record.queued is not None:
            return False
        if record.attempts > 1:
            record.enter(State.RELEASED)
            record.fence = self._next_fence()
            record.leased = record.in_flight = False
            record.exposed = 0
            self._file_answer(record)
            return True
        self._drop_answer(record)
        self._give_back_key(record)
        del self.records[payment_id]
        return True

    # Steps

    def advance(self, payment_id: str, fence: int, step: Step) -> bool:
        record = self.records.get(payment_id)
        if record is None or record.fence != fence or record.state not in step.since:
            return False
        if record.state is State.RESERVED and self._open(record):
            return False
        record.enter(step.to)
        record.in_flight = step.in_flight
        record.leased = record.leased and step.keep_lease
        record.transaction = record.transaction if step.transaction is None else step.transaction
        record.reason = record.reason if step.reason is None else step.reason
        record.note = record.note if step.note is None else step.note
        record.redemptions += step.redeemed
        self._count(record, step)
        if step.queued:
            self._join_queue(record)
        elif step.queued is False and record.queued is not None:
            record.queued = None
            self.queue.remove(payment_id)
        if step.answer is not None and len(step.answer) <= self._max_answer:
            self._drop_answer(record)
            record.answer = step.answer
        self._file_answer(record)
        return True

    def _join_queue(self, record: Record) -> None:
        if record.queued is None:
            record.queued = record.claim.queue
            self.queue.append(record.claim.id)

    def _count(self, record: Record, step: Step) -> None:
        if step.lost and record.exposed:
            self._losses.setdefault(record.claim.id, (record.claim.payer, record.exposed))
        if step.lost or not step.in_flight:
            record.exposed = 0
        if step.to is State.SETTLED:
            self._losses.pop(record.claim.id, None)
            record.settled = record.settled or "fresh"

    def mark(self, delivered: list[str], left: list[str]) -> None:
        known = self.records
        for record in (known[key] for key in delivered if key in known):
            record.delivered = True
            self._file_answer(record)
        for record in (known[key] for key in left if key in known):
            record.left = record.left or not record.delivered

    def windows_pass(self) -> None:
        for record in self.records.values():
            record.settled = record.settled and "old"

    def redeem(self, payment_id: str, by: str, leased: bool, most: int) -> int | None:
        record = self.records.get(payment_id)
        if record is None or record.redemptions >= most:
            return None
        taken_over = record.state is State.SERVING and not self.live(record)
        if record.state not in REDEEMABLE and not taken_over:
            return None
        record.enter(State.SERVING)
        record.leased, record.holder = leased, by
        record.fence = self._next_fence()
        self._join_queue(record)
        return record.fence

    def renew(self, payment_id: str, fence: int) -> bool:
        record = self.records.get(payment_id)
        return record is not None and record.fence == fence and self.live(record)

    def due(self, queue: str, by: str, limit: int, leased: bool) -> list[str]:
        waiting = [self.records[key] for key in self.queue if self.records[key].queued == queue]
        ready = [
            one
            for one in waiting
            if one.state is State.SERVED or (one.state in TAKEN_UP_AGAIN and not self.live(one))
        ]
        for record in ready[:limit]:
            if record.state in TO_SETTLE:
                record.enter(State.SETTLING)
            record.fence = self._next_fence()
            record.leased, record.holder = leased, by
        return [record.claim.id for record in ready[:limit]]

    # Answers

    def _file_answer(self, record: Record) -> None:
        key = record.claim.id
        if record.answer is not None and record.in_flight and key in self.free:
            self.free.remove(key)
        elif record.answer is not None and not record.in_flight and key not in self.free:
            self.free.append(key)
        while self._stored() > self._max_answers and self._spare():
            self._drop_answer(self.records[self._spare()[0]])

    def _spare(self) -> list[str]:
        return [key for key in self.free if self.records[key].spare]

    def _stored(self) -> int:
        return sum(len(one.answer) for one in self.records.values() if one.answer is not None)

    def _drop_answer(self, record: Record) -> None:
        record.answer = None
        if record.claim.id in self.free:
            self.free.remove(record.claim.id)

    # Facts

    def remember(self, name: str, value: bytes, kept: bool) -> None:
        self.facts.pop(name, None)
        if kept:
            self.facts[name] = value

    # Looking

    def listing(self, state: State | None, route: str | None) -> list[str]:
        newest_first = reversed(self.records.values())
        return [
            one.claim.id
            for one in newest_first
            if state in (None, one.state) and route in (None, one.claim.route)
        ]


def _key(claim: Claim) -> tuple[str, str, str] | None:
    key = claim.idempotency_key
    return None if key is None else (claim.payer, claim.route, key)

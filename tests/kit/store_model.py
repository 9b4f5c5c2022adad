"""What a store promises, as plainly as it can be said: one dictionary, no clock, no I/O.

A lease is either long or lapsed at once, so that time plays no part.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.payment import Claim, State
from gateway.store import Step


@dataclass
class Record:
    """One payment."""

    claim: Claim
    fence: int = 0
    state: State = State.RESERVED
    attempts: int = 0
    leased: bool = False
    in_flight: bool = True
    queued: str | None = None
    transaction: str = ""
    reason: str = ""
    answer: bytes | None = None
    history: list[State] = field(default_factory=list)

    def enter(self, state: State) -> None:
        if self.state is not state:
            self.history.append(state)
        self.state = state


class Model:
    """``records`` by creation, ``queue`` in the order of joining, ``free`` answers oldest first."""

    def __init__(self, max_answer: int, max_answers: int) -> None:
        self.records: dict[str, Record] = {}
        self.queue: list[str] = []
        self.free: list[str] = []
        self._max_answer = max_answer
        self._max_answers = max_answers
        self._fence = 0

    def reserve(self, claim: Claim, leased: bool, max_attempts: int) -> tuple[int, int] | None:
        """(attempt, in flight elsewhere) or None when the record stands in the way."""
        record = self.records.get(claim.id)
        if record is not None and not self._claimable(record, claim, max_attempts):
            return None
        if record is None:
            record = self.records[claim.id] = Record(claim)
        self._drop_answer(record)
        record.claim, record.leased, record.in_flight, record.reason = claim, leased, True, ""
        record.state = State.RESERVED
        record.history.append(State.RESERVED)
        record.attempts += 1
        record.fence = self._next_fence()
        others = [one for one in self.in_flight(claim.purse) if one is not record]
        return record.attempts, sum(one.claim.amount for one in others)

    def _claimable(self, record: Record, claim: Claim, max_attempts: int) -> bool:
        if record.claim.digest != claim.digest or record.attempts >= max_attempts:
            return False
        return record.state is State.RELEASED or (record.state is State.RESERVED and not record.leased)

    def _next_fence(self) -> int:
        self._fence += 1
        return self._fence

    def in_flight(self, purse: str) -> list[Record]:
        return [one for one in self.records.values() if one.in_flight and one.claim.purse == purse]

    def drop(self, payment_id: str, fence: int) -> bool:
        record = self.records.get(payment_id)
        if record is None or record.fence != fence or record.state is not State.RESERVED:
            return False
        if record.attempts > 1:
            record.enter(State.RELEASED)
            record.leased = record.in_flight = False
            return True
        self._drop_answer(record)
        self._leave_queue(record)
        del self.records[payment_id]
        return True

    def advance(self, payment_id: str, fence: int, step: Step) -> bool:
        record = self.records.get(payment_id)
        if record is None or record.fence != fence or record.state not in step.since:
            return False
        record.enter(step.to)
        record.in_flight = step.in_flight
        record.leased = record.leased and step.keep_lease
        record.transaction = record.transaction if step.transaction is None else step.transaction
        record.reason = record.reason if step.reason is None else step.reason
        if step.queued and record.queued is None:
            record.queued = record.claim.queue
            self.queue.append(payment_id)
        elif step.queued is False:
            self._leave_queue(record)
        self._keep_answer(record, step)
        return True

    def _leave_queue(self, record: Record) -> None:
        if record.queued is not None:
            record.queued = None
            self.queue.remove(record.claim.id)

    def _keep_answer(self, record: Record, step: Step) -> None:
        if step.answer is not None and len(step.answer) <= self._max_answer:
            self._drop_answer(record)
            record.answer = step.answer
        key = record.claim.id
        if record.answer is not None and step.in_flight and key in self.free:
            self.free.remove(key)
        elif record.answer is not None and not step.in_flight and key not in self.free:
            self.free.append(key)
        while self.free and self._stored() > self._max_answers:
            self._drop_answer(self.records[self.free[0]])

    def _stored(self) -> int:
        return sum(len(one.answer) for one in self.records.values() if one.answer is not None)

    def _drop_answer(self, record: Record) -> None:
        record.answer = None
        if record.claim.id in self.free:
            self.free.remove(record.claim.id)

    def renew(self, payment_id: str, fence: int) -> bool:
        record = self.records.get(payment_id)
        return record is not None and record.fence == fence

    def due(self, queue: str, limit: int, leased: bool) -> list[str]:
        again = (State.SETTLING, State.UNKNOWN)
        waiting = [self.records[key] for key in self.queue if self.records[key].queued == queue]
        ready = [
            one for one in waiting if one.state is State.SERVED or (one.state in again and not one.leased)
        ]
        for record in ready[:limit]:
            if record.state is State.SERVED:
                record.enter(State.SETTLING)
            record.fence = self._next_fence()
            record.leased = leased
        return [record.claim.id for record in ready[:limit]]

    def listing(self, state: State | None, route: str | None) -> list[str]:
        newest_first = reversed(self.records.values())
        return [
            one.claim.id
            for one in newest_first
            if state in (None, one.state) and route in (None, one.claim.route)
        ]

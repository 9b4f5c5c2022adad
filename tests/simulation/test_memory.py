"""The simulated store keeps what the model promises that the real stores are compared with, too."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pytest
from kit.store_model import Model
from kit.stores import make_claim

from gateway.payment import Caps, Claim, Claimed, Instance, Lease, Moment, Standing, State, payment_id
from gateway.store import Step
from simulation.memory import MemoryStore

LONG = 1000.0
REDEEM_WINDOW = 900.0
MAX_ANSWER = 50
INSTANCES = {
    name: Instance(name, slot, run, number, "p")
    for name, slot, run, number in (
        ("i", "s", "1", 0),
        ("j", "s", "1", 1),
        ("k", "s", "2", 0),
        ("m", "t", "1", 0),
    )
}
LIKELY = (
    Step(State.RELEASED, frozenset(State), in_flight=False),
    Step(State.SERVED, frozenset(State), in_flight=True, answer=b"a" * 40, queued=True, keep_lease=True),
    Step(State.SETTLED, frozenset(State), in_flight=False, queued=False),
    Step(State.REFUSED, frozenset(State), in_flight=False, queued=False, lost=True),
    Step(State.RESERVED, frozenset({State.RESERVED}), in_flight=True, queued=True, keep_lease=True),
)


class Pair:
    """Does the same to both, at random, and compares what they say."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self.model = Model(MAX_ANSWER, 10**9)
        self.now = 1_000_000.0
        self.store = MemoryStore(
            lambda: self.now, redeem_window=REDEEM_WINDOW, released=LONG, max_answer=MAX_ANSWER
        )
        self.held: list[tuple[str, int, Lease]] = [("pay_none", 0, Lease("pay_none", 0))]
        for name in ("i", "m"):
            self.arrive(name)

    def step(self) -> None:
        """Any rule."""
        rules = (self.reserve, self.reserve, self.advance, self.advance, self.drop, self.mark, self.redeem)
        self.rng.choice((*rules, self.due, self.renew, self.instance, self.hold, self.windows, self.fact))()

    def arrive(self, name: str) -> None:
        self.model.arrive(INSTANCES[name])
        self.store.arrive(INSTANCES[name])

    def instance(self) -> None:
        name = self.rng.choice(list(INSTANCES))
        if self.rng.random() < 0.6:
            self.arrive(name)
        else:
            self.model.instances.pop(name, None)
            self.store.bury(name)
        assert {one.name for one in self.store.instances()} == set(self.model.instances)

    def _by(self) -> str:
        return self.rng.choice([*INSTANCES, "i", "m", "nobody"])

    def _lease(self) -> float:
        return self.rng.choice((0.0, LONG * 1000))

    def _claim(self) -> Claim:
        rng, number = self.rng, self.rng.randint(0, 4)
        claim = make_claim(
            replay_key=str(number),
            digest=rng.choice("dddde"),
            purse=rng.choice("ab"),
            route=rng.choice("ab"),
            queue=rng.choice("aaab"),
            amount=rng.randint(0, 99),
            idempotency_key=rng.choice((None, "a", "b")),
            moment=rng.choice(list(Moment)),
            exposure=rng.randint(1, 9),
        )
        return replace(claim, payer="xy"[number % 2])

    def reserve(self) -> None:
        claim, by, lease, most = self._claim(), self._by(), self._lease(), self.rng.choice((1, 3, 9, 9))
        caps = self.rng.choice((None, Caps(self.rng.randint(0, 9), self.rng.randint(0, 15))))
        expected = self.model.reserve(claim, by, lease > 0, most, caps)
        outcome = self.store.reserve(claim, by=by, lease=lease, max_attempts=most, caps=caps)
        if isinstance(outcome, Standing):
            assert (outcome.why, outcome.payment.id) == expected
            return
        assert isinstance(outcome, Claimed)
        assert (outcome.attempt, outcome.in_flight, outcome.moment, outcome.beside) == expected
        self.held.append((claim.id, self.model.records[claim.id].fence, outcome.lease))

    def _any(self) -> tuple[str, int, Lease]:
        return self.rng.choice(self.held[-6:] if self.rng.random() < 0.8 else self.held)

    def advance(self) -> None:
        rng = self.rng
        step = rng.choice(LIKELY)
        if rng.random() < 0.4:
            step = Step(
                rng.choice(list(State)),
                frozenset(State),
                in_flight=rng.random() < 0.5,
                transaction=rng.choice((None, "", "0x1")),
                reason=rng.choice((None, "", "why")),
                note=rng.choice((None, b"", b"\xff")),
                answer=rng.choice((None, b"", b"b" * MAX_ANSWER, b"c" * (MAX_ANSWER + 1))),
                lost=rng.random() < 0.3,
                redeemed=rng.random() < 0.3,
                queued=rng.choice((None, True, False)),
                keep_lease=rng.random() < 0.5,
            )
        key, fence, lease = self._any()
        assert self.store.advance(lease, step) == self.model.advance(key, fence, step)

    def drop(self) -> None:
        key, fence, lease = self._any()
        assert self.store.drop(lease) == self.model.drop(key, fence)

    def mark(self) -> None:
        taken, without = ([payment_id(str(self.rng.randint(0, 4)))] for _ in range(2))
        self.model.mark(taken, without)
        self.store.mark(delivered=taken, left=without)

    def redeem(self) -> None:
        wanted, by, lease = payment_id(str(self.rng.randint(0, 4))), self._by(), self._lease()
        most = self.rng.randint(1, 3)
        fence = self.model.redeem(wanted, by, lease > 0, most)
        mine = self.store.redeem(wanted, by=by, lease=lease, most=most)
        assert (mine is None) == (fence is None)
        if mine is not None and fence is not None:
            self.held.append((wanted, fence, mine))

    def due(self) -> None:
        queue, by, lease, limit = self.rng.choice("aaab"), self._by(), self._lease(), self.rng.randint(1, 4)
        expected = self.model.due(queue, by, limit, lease > 0)
        taken = self.store.due(queue, by=by, limit=limit, lease=lease)
        assert [payment.id for payment in taken] == expected
        self.held += [(one.id, self.model.records[one.id].fence, one.lease) for one in taken]

    def renew(self) -> None:
        key, fence, lease = self._any()
        assert self.store.renew([lease], lease=0.0) == ({key} if self.model.renew(key, fence) else set())

    def hold(self) -> None:
        name, owner, lease = self.rng.choice("ab"), self._by(), self._lease()
        assert self.store.hold(name, owner, lease=lease) == self.model.hold(name, owner, lease > 0)

    def fact(self) -> None:
        name, value, kept = self.rng.choice("ab"), self.rng.choice((b"", b"\xff")), self._lease()
        if self.rng.random() < 0.3:
            self.model.facts.pop(name, None)
            self.store.forget(name)
        else:
            self.model.remember(name, value, kept > 0)
            self.store.remember(name, value, seconds=kept)
        assert self.store.recall("abc") == [self.model.facts.get(name) for name in "abc"]

    def windows(self) -> None:
        if self.rng.random() < 0.3:
            self.model.windows_pass()
            for record in self.store.records.values():
                if record.settled_at is not None:
                    record.settled_at -= REDEEM_WINDOW + 1

    def compare(self) -> None:
        assert self.store.states([*self.model.records, "none"]) == {
            key: one.state for key, one in self.model.records.items()
        }
        for key, record in self.model.records.items():
            payment = self.store.find(key)
            assert payment is not None and self.store.answer(key) == record.answer
            told: tuple[Any, ...] = (
                payment.attempts,
                payment.amount,
                payment.leased,
                payment.transaction,
                payment.reason,
                payment.note,
                [state for state, _ in payment.history],
                payment.moment,
                payment.client,
                payment.left,
                payment.delivered_at is not None,
                payment.settled_at is not None,
                payment.redemptions,
                self.store.records[key].queued is not None,
                self.store.records[key].in_flight,
            )
            assert told == (
                record.attempts,
                record.claim.amount,
                self.model.live(record),
                record.transaction,
                record.reason,
                record.note,
                record.history,
                record.moment,
                record.client,
                record.left or (not record.delivered and self.model.gone(record)),
                record.delivered,
                bool(record.settled),
                record.redemptions,
                record.queued is not None,
                record.in_flight,
            )


@pytest.mark.parametrize("first", range(0, 400, 100))
def test_the_simulated_store_is_the_real_ones_model(first: int) -> None:
    for seed in range(first, first + 100):
        pair = Pair(seed)
        for _ in range(60):
            pair.step()
            pair.compare()

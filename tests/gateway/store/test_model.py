"""Random histories: both stores, and a model that says plainly what they promise, must agree throughout."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Coroutine, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from kit.redis_server import RedisServer
from kit.store_model import Model, Outcome, Record
from kit.store_time import RedisClock, SqliteClock
from kit.stores import make_claim

from gateway.payment import (
    Caps,
    Claim,
    Claimed,
    Instance,
    Lease,
    Moment,
    Payment,
    Standing,
    State,
    payment_id,
)
from gateway.store import Step, Store
from gateway.store.connect import open_store

T = TypeVar("T")
MAX_ANSWER, MAX_ANSWERS = 50, 120
LONG = 1000.0
REDEEM_WINDOW = 900.0
NAMES = st.sampled_from(["a", "b"])
QUEUES = st.sampled_from("aaab")
LEASES = st.sampled_from([0.0, LONG])
KEYS = st.integers(0, 4)
INSTANCES = {
    name: Instance(name, slot, run, number, "p")
    for name, slot, run, number in (
        ("i", "s", "1", 0),
        ("j", "s", "1", 1),
        ("k", "s", "2", 0),
        ("m", "t", "1", 0),
    )
}
BY = st.sampled_from([*INSTANCES, "nobody"])
CAPS = st.none() | st.builds(Caps, st.integers(0, 9), st.integers(0, 15))
ANY = frozenset(State)
STEPS = st.builds(
    Step,
    to=st.sampled_from(list(State)),
    since=st.just(ANY) | st.frozensets(st.sampled_from(list(State)), min_size=3),
    in_flight=st.booleans(),
    transaction=st.sampled_from([None, "", "0x1", "0x2"]),
    reason=st.sampled_from([None, "", "why"]),
    note=st.sampled_from([None, b"", b"\xff\x00", b"used"]),
    answer=st.none() | st.integers(0, MAX_ANSWER + 1).map(bytes),
    lost=st.booleans(),
    redeemed=st.booleans(),
    queued=st.sampled_from([None, True, False]),
    keep_lease=st.booleans(),
)
CLAIMS = st.builds(
    make_claim,
    replay_key=KEYS.map(str),
    digest=st.sampled_from("dddde"),
    purse=NAMES,
    route=NAMES,
    queue=QUEUES,
    amount=st.integers(0, 2**256 - 1),
    idempotency_key=st.none() | NAMES,
    moment=st.sampled_from(Moment),
    exposure=st.integers(1, 9),
).map(lambda claim: replace(claim, payer="xy"[int(claim.replay_key) % 2]))
Held = tuple[str, int, list[Lease]]
"""A payment, the model's fence, and each store's lease."""


class Stores(RuleBasedStateMachine):
    """Every rule does the same to the model and to both stores."""

    redis: RedisServer
    held = Bundle("held")

    def __init__(self) -> None:
        super().__init__()
        self._runner = asyncio.Runner()
        self._folder = tempfile.TemporaryDirectory()
        self.model = Model(MAX_ANSWER, MAX_ANSWERS)
        self.current: dict[int, Held] = {}
        self.redis.command("FLUSHALL")
        self.stores = [self._open("embedded"), self._open(self.redis.url)]
        self.clocks = [SqliteClock(Path(self._folder.name)), RedisClock(self.redis)]
        for name in ("i", "m"):
            self.arrive(name)

    def _open(self, url: str) -> Store:
        store = open_store(
            url, Path(self._folder.name), 3600, MAX_ANSWER, MAX_ANSWERS, redeem_window=REDEEM_WINDOW
        )
        self.run(store.open())
        return store

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(call)

    def teardown(self) -> None:
        for store in self.stores:
            self.run(store.close())
        self._runner.close()
        self._folder.cleanup()

    @rule(name=st.sampled_from(list(INSTANCES)))
    def arrive(self, name: str) -> None:
        self.model.arrive(INSTANCES[name])
        for store in self.stores:
            self.run(store.arrive(INSTANCES[name]))

    @rule(name=st.sampled_from(list(INSTANCES)))
    def bury(self, name: str) -> None:
        self.model.instances.pop(name, None)
        for store in self.stores:
            self.run(store.bury(name))

    @rule(name=BY)
    def beat(self, name: str) -> None:
        for store in self.stores:
            assert self.run(store.beat(name)) == (name in self.model.instances)

    @rule(name=NAMES, owner=BY, lease=LEASES)
    def hold(self, name: str, owner: str, lease: float) -> None:
        expected = self.model.hold(name, owner, lease > 0)
        for store in self.stores:
            assert self.run(store.hold(name, owner, lease=lease)) == expected

    @rule(
        target=held, claim=CLAIMS, by=BY, lease=LEASES, max_attempts=st.sampled_from([1, 3, 9, 9]), caps=CAPS
    )
    def reserve(self, claim: Claim, by: str, lease: float, max_attempts: int, caps: Caps | None) -> Held:
        expected = self.model.reserve(claim, by, lease > 0, max_attempts, caps)
        leases = []
        for store in self.stores:
            outcome = self.run(store.reserve(claim, by=by, lease=lease, max_attempts=max_attempts, caps=caps))
            assert _told(outcome) == expected
            leases.append(outcome.lease if isinstance(outcome, Claimed) else outcome.payment.lease)
        payment_id = leases[0].payment_id
        held = (payment_id, self.model.records[payment_id].fence, leases)
        if payment_id == claim.id:
            self.current[int(claim.replay_key)] = held
        return held

    @rule(delivered=st.lists(KEYS, max_size=2), left=st.lists(KEYS, max_size=2))
    def mark(self, delivered: list[int], left: list[int]) -> None:
        taken, without = ([payment_id(str(key)) for key in keys] for keys in (delivered, left))
        self.model.mark(taken, without)
        for store in self.stores:
            self.run(store.mark(delivered=taken, left=without))

    @rule(target=held, key=KEYS, by=BY, lease=LEASES, most=st.integers(1, 3))
    def redeem(self, key: int, by: str, lease: float, most: int) -> Held:
        wanted = payment_id(str(key))
        fence = self.model.redeem(wanted, by, lease > 0, most)
        leases = [self.run(store.redeem(wanted, by=by, lease=lease, most=most)) for store in self.stores]
        if fence is None:
            assert leases == [None, None]
            return "pay_none", 0, [Lease("pay_none", 0)] * 2
        held = (wanted, fence, [lease for lease in leases if lease is not None])
        assert len(held[2]) == 2
        self.current[key] = held
        return held

    @rule()
    def windows_pass(self) -> None:
        self.model.windows_pass()
        for clock in self.clocks:
            clock.settlements(REDEEM_WINDOW + 1)

    @rule(held=held)
    def drop(self, held: Held) -> None:
        key, fence, leases = held
        expected = self.model.drop(key, fence)
        for store, lease in zip(self.stores, leases, strict=True):
            assert self.run(store.drop(lease)) == expected

    @rule(held=held, step=STEPS)
    def advance(self, held: Held, step: Step) -> None:
        key, fence, leases = held
        expected = self.model.advance(key, fence, step)
        for store, lease in zip(self.stores, leases, strict=True):
            assert self.run(store.advance(lease, step)) == expected

    @rule(key=KEYS, step=STEPS)
    def advance_current(self, key: int, step: Step) -> None:
        if key in self.current:
            self.advance(self.current[key], step)

    @rule(key=KEYS)
    def release(self, key: int) -> None:
        self.advance_current(key, Step(State.RELEASED, ANY, in_flight=False))

    @rule(key=KEYS, answer=st.integers(30, MAX_ANSWER).map(bytes), keep_lease=st.booleans())
    def serve(self, key: int, answer: bytes, keep_lease: bool) -> None:
        served = Step(State.SERVED, ANY, in_flight=True, answer=answer, queued=True, keep_lease=keep_lease)
        self.advance_current(key, served)

    @rule(key=KEYS)
    def settle(self, key: int) -> None:
        self.advance_current(key, Step(State.SETTLED, ANY, in_flight=False, queued=False))

    @rule(key=KEYS)
    def lose(self, key: int) -> None:
        self.advance_current(key, Step(State.REFUSED, ANY, in_flight=False, queued=False, lost=True))

    @rule(key=KEYS)
    def lose_the_answer(self, key: int) -> None:
        self.advance_current(
            key,
            Step(State.RESERVED, frozenset({State.RESERVED}), in_flight=True, queued=True, keep_lease=True),
        )

    @rule(held=held)
    def renew(self, held: Held) -> None:
        """By no time at all: who may is what is compared here."""
        key, fence, leases = held
        expected = {key} if self.model.renew(key, fence) else set()
        for store, lease in zip(self.stores, leases, strict=True):
            assert self.run(store.renew([lease], lease=0)) == expected

    @rule(target=held, queue=QUEUES, by=BY, lease=LEASES)
    def due(self, queue: str, by: str, lease: float) -> Held:
        expected = self.model.due(queue, by, 1, lease > 0)
        leases = []
        for store in self.stores:
            taken = self.run(store.due(queue, by=by, limit=1, lease=lease))
            assert [payment.id for payment in taken] == expected
            leases += [payment.lease for payment in taken]
        if not expected:
            return "pay_none", 0, [Lease("pay_none", 0)] * 2
        held = (expected[0], self.model.records[expected[0]].fence, leases)
        self.current |= {key: held for key, (current, *_) in self.current.items() if current == held[0]}
        return held

    @rule(queue=QUEUES)
    def all_due(self, queue: str) -> None:
        expected = self.model.due(queue, "i", 10, leased=False)
        for store in self.stores:
            taken = self.run(store.due(queue, by="i", limit=10, lease=0))
            assert [payment.id for payment in taken] == expected

    @rule(name=NAMES, value=st.binary(max_size=3), kept=LEASES)
    def remember(self, name: str, value: bytes, kept: float) -> None:
        self.model.remember(name, value, kept > 0)
        for store in self.stores:
            self.run(store.remember(name, value, seconds=kept))

    @rule(name=NAMES)
    def forget(self, name: str) -> None:
        self.model.facts.pop(name, None)
        for store in self.stores:
            self.run(store.forget(name))

    @rule(state=st.none() | st.sampled_from(list(State)), route=st.none() | NAMES, limit=st.integers(1, 3))
    def listing(self, state: State | None, route: str | None, limit: int) -> None:
        expected = self.model.listing(state, route)
        for store in self.stores:
            assert self.run(_listed(store, state, route, limit)) == expected

    @invariant()
    def the_records_agree(self) -> None:
        records = self.model.records
        for store in self.stores:
            assert self.run(store.states(list(records))) == {key: one.state for key, one in records.items()}
            for purse in ("a", "b"):
                flying = self.run(store.in_flight(purse))
                assert {one.id for one in flying} == {one.claim.id for one in self.model.in_flight(purse)}
            for key, record in records.items():
                payment = self.run(store.find(key))
                assert payment is not None
                assert _seen(payment) == self._expected(record)
                assert self.run(store.answer(key)) == record.answer

    @invariant()
    def the_facts_agree(self) -> None:
        for store in self.stores:
            assert self.run(store.recall(["b", "a"])) == [self.model.facts.get(name) for name in ("b", "a")]

    def _expected(self, record: Record) -> tuple[object, ...]:
        return (
            record.state,
            record.attempts,
            record.claim.amount,
            record.claim.queue,
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
        )


def _told(outcome: Claimed | Standing) -> Outcome:
    if isinstance(outcome, Standing):
        return outcome.why, outcome.payment.id
    return outcome.attempt, outcome.in_flight, outcome.moment, outcome.beside


async def _listed(store: Store, state: State | None, route: str | None, limit: int) -> list[str]:
    listed: list[str] = []
    cursor: str | None = None
    while True:
        page, cursor = await store.listing(state=state, route=route, limit=limit, cursor=cursor)
        listed += [payment.id for payment in page]
        if cursor is None:
            return listed


def _seen(payment: Payment) -> tuple[object, ...]:
    return (
        payment.state,
        payment.attempts,
        payment.amount,
        payment.queue,
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
    )


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


def test_both_stores_follow_the_model(redis: RedisServer) -> None:
    machine = type("StoresOnRedis", (Stores,), {"redis": redis})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=40,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )

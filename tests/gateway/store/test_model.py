"""Random histories: both stores, and a model that says plainly what they promise, must agree throughout."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from kit.redis_server import RedisServer
from kit.store_model import Model
from kit.stores import make_claim

from gateway.payment import Claimed, Lease, Payment, State
from gateway.store import Step, Store
from gateway.store.connect import open_store

T = TypeVar("T")
MAX_ANSWER, MAX_ANSWERS = 50, 120
LONG = 1000.0
NAMES = st.sampled_from(["a", "b"])
QUEUES = st.sampled_from("aaab")
LEASES = st.sampled_from([0.0, LONG])
KEYS = st.integers(0, 2)
ANY = frozenset(State)
STEPS = st.builds(
    Step,
    to=st.sampled_from(list(State)),
    since=st.just(ANY) | st.frozensets(st.sampled_from(list(State)), min_size=3),
    in_flight=st.booleans(),
    transaction=st.sampled_from([None, "", "0x1", "0x2"]),
    reason=st.sampled_from([None, "", "why"]),
    answer=st.none() | st.integers(0, MAX_ANSWER + 1).map(bytes),
    queued=st.sampled_from([None, True, False]),
    keep_lease=st.booleans(),
)
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

    def _open(self, url: str) -> Store:
        store = open_store(url, Path(self._folder.name), 3600, MAX_ANSWER, MAX_ANSWERS)
        self.run(store.open())
        return store

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(call)

    def teardown(self) -> None:
        for store in self.stores:
            self.run(store.close())
        self._runner.close()
        self._folder.cleanup()

    @rule(
        target=held,
        key=KEYS,
        digest=st.sampled_from("dddde"),
        purse=NAMES,
        route=NAMES,
        queue=QUEUES,
        amount=st.integers(0, 2**256 - 1),
        lease=LEASES,
        max_attempts=st.integers(1, 8),
    )
    def reserve(
        self,
        key: int,
        digest: str,
        purse: str,
        route: str,
        queue: str,
        amount: int,
        lease: float,
        max_attempts: int,
    ) -> Held:
        claim = make_claim(
            replay_key=str(key), digest=digest, purse=purse, route=route, queue=queue, amount=amount
        )
        expected = self.model.reserve(claim, lease > 0, max_attempts)
        leases = []
        for store in self.stores:
            outcome = self.run(store.reserve(claim, lease=lease, max_attempts=max_attempts))
            claimed = (outcome.attempt, outcome.in_flight) if isinstance(outcome, Claimed) else None
            assert claimed == expected
            leases.append(outcome.lease)
        held = (claim.id, self.model.records[claim.id].fence, leases)
        if expected is not None:
            self.current[key] = held
        return held

    @rule(held=held)
    def drop(self, held: Held) -> None:
        payment_id, fence, leases = held
        expected = self.model.drop(payment_id, fence)
        for store, lease in zip(self.stores, leases, strict=True):
            assert self.run(store.drop(lease)) == expected

    @rule(held=held, step=STEPS)
    def advance(self, held: Held, step: Step) -> None:
        payment_id, fence, leases = held
        expected = self.model.advance(payment_id, fence, step)
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

    @rule(held=held)
    def renew(self, held: Held) -> None:
        """By no time at all: who may is what is compared here."""
        payment_id, fence, leases = held
        expected = {payment_id} if self.model.renew(payment_id, fence) else set()
        for store, lease in zip(self.stores, leases, strict=True):
            assert self.run(store.renew([lease], lease=0)) == expected

    @rule(target=held, queue=QUEUES, lease=LEASES)
    def due(self, queue: str, lease: float) -> Held:
        expected = self.model.due(queue, 1, lease > 0)
        leases = []
        for store in self.stores:
            taken = self.run(store.due(queue, limit=1, lease=lease))
            assert [payment.id for payment in taken] == expected
            leases += [payment.lease for payment in taken]
        if not expected:
            return "pay_none", 0, [Lease("pay_none", 0)] * 2
        held = (expected[0], self.model.records[expected[0]].fence, leases)
        self.current |= {key: held for key, (payment_id, *_) in self.current.items() if payment_id == held[0]}
        return held

    @rule(queue=QUEUES)
    def all_due(self, queue: str) -> None:
        expected = self.model.due(queue, 10, leased=False)
        for store in self.stores:
            taken = self.run(store.due(queue, limit=10, lease=0))
            assert [payment.id for payment in taken] == expected

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
                assert _seen(payment) == (
                    record.state,
                    record.attempts,
                    record.claim.amount,
                    record.claim.queue,
                    record.leased,
                    record.transaction,
                    record.reason,
                    record.history,
                )
                assert self.run(store.answer(key)) == record.answer


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
        [state for state, _ in payment.history],
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
            max_examples=60,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )

"""The contract of both stores: claims somebody left behind."""

from __future__ import annotations

import asyncio
import time

import pytest
from kit.store_time import Clock
from kit.stores import HERE, THERE, claimed, eventually, make_claim, step

from gateway.payment import State
from gateway.store import Store

RELEASED = 20.0
"""As in the conftest."""


async def test_an_abandoned_claim_is_released_for_a_while(store: Store, clock: Clock) -> None:
    claim = make_claim(purse="p")
    mine = await claimed(store, claim, lease=1)
    clock.records(30.5)
    await asyncio.sleep(1.3)
    assert await store.states([claim.id]) == {claim.id: State.RELEASED}
    assert await store.in_flight("p") == []
    payment = await store.find(claim.id)
    assert payment is not None and not payment.leased and payment.history[-1][0] is State.RELEASED
    assert not await store.advance(mine.lease, step(State.SERVED))
    assert await store.renew([mine.lease], lease=10) == frozenset()
    clock.records(RELEASED - 3)
    assert await store.find(claim.id) is not None
    clock.records(3)
    assert await store.find(claim.id) is None


async def test_a_released_claim_is_claimed_again(store: Store, clock: Clock) -> None:
    claim = make_claim()
    await claimed(store, claim, lease=1)
    clock.records(30.5)
    await eventually(lambda: store.states([claim.id]), {claim.id: State.RELEASED})
    again = await claimed(store, claim)
    assert again.attempt == 2
    assert await store.drop(again.lease)
    clock.records(RELEASED + 1)
    assert await store.find(claim.id) is None


async def test_a_claim_is_not_abandoned_while_its_lease_is_young(store: Store, clock: Clock) -> None:
    """Renewed, or ended less than half a minute ago; its holder may sleep."""
    renewed, ended = make_claim(), make_claim()
    mine = await claimed(store, renewed, lease=40)
    await claimed(store, ended, lease=1)
    clock.records(28)
    assert await store.renew([mine.lease], lease=60) == {renewed.id}
    await asyncio.sleep(1.3)
    assert set((await store.states([renewed.id, ended.id])).values()) == {State.RESERVED}
    clock.records(10)
    await eventually(lambda: store.states([ended.id]), {ended.id: State.RELEASED})
    assert await store.states([renewed.id]) == {renewed.id: State.RESERVED}
    assert await store.advance(mine.lease, step(State.SERVED))


@pytest.mark.parametrize(("valid", "kept"), [(3600, True), (-1, False)])
async def test_an_abandoned_claim_is_forgotten_when_it_is_void(
    store: Store, clock: Clock, valid: int, kept: bool
) -> None:
    claim = make_claim(expires_at=int(time.time()) + valid)
    await claimed(store, claim)
    clock.records(41)
    expected = {claim.id: State.RELEASED} if kept else {}
    await eventually(lambda: store.states([claim.id]), expected)


async def test_a_queued_claim_is_never_abandoned(store: Store, clock: Clock) -> None:
    """Its answer is lost, its money will be asked for: the queue gives it out once its holder is dead."""
    await store.arrive(THERE)
    claim = make_claim(queue="q")
    mine = await claimed(store, claim, by=THERE.name, lease=60)
    lost = step(State.RESERVED, in_flight=True, queued=True, keep_lease=True)
    assert await store.advance(mine.lease, lost)
    assert not await store.drop(mine.lease)
    assert await store.due("q", by=HERE.name, limit=9, lease=10) == []
    clock.records(100)
    await store.bury(THERE.name)
    await asyncio.sleep(1.3)
    (taken,) = await store.due("q", by=HERE.name, limit=9, lease=10)
    assert (taken.id, taken.state, taken.fence) == (claim.id, State.SETTLING, mine.lease.fence + 1)
    assert taken.history[-1][0] is State.SETTLING
    assert [payment.id for payment in await store.in_flight(claim.purse)] == [claim.id]


async def test_a_lost_answer_is_due_when_its_holder_dies(store: Store) -> None:
    await store.arrive(THERE)
    mine = await claimed(store, make_claim(queue="q"), by=THERE.name, lease=60)
    lost = step(State.RESERVED, in_flight=True, queued=True, keep_lease=True)
    assert await store.advance(mine.lease, lost)
    await store.bury(THERE.name)
    assert [payment.state for payment in await store.due("q", by=HERE.name, limit=9, lease=10)] == [
        State.SETTLING
    ]

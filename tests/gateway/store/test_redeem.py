"""The contract of both stores: serving what is paid for, and what became of answers."""

from __future__ import annotations

import asyncio

import pytest
from kit.stores import HERE, THERE, claimed, make_claim, settle, step

from gateway.payment import REDEEMABLE, Claim, Lease, Payment, State
from gateway.store import Store

ANY = frozenset(State)


async def redeem(store: Store, payment_id: str, most: int = 3, lease: float = 10) -> Lease | None:
    return await store.redeem(payment_id, by=THERE.name, lease=lease, most=most)


async def found(store: Store, claim: Claim) -> Payment:
    payment = await store.find(claim.id)
    assert payment is not None
    return payment


@pytest.fixture(autouse=True)
async def there(store: Store) -> None:
    await store.arrive(THERE)


@pytest.mark.parametrize("state", sorted(REDEEMABLE))
async def test_what_is_paid_for_is_served_under_a_lease(store: Store, state: State) -> None:
    claim = make_claim()
    mine = await settle(store, claim)
    assert await store.advance(mine.lease, step(state, since=ANY, in_flight=False))
    lease = await redeem(store, claim.id)
    assert lease == Lease(claim.id, mine.lease.fence + 1)
    payment = await found(store, claim)
    assert payment.state is State.SERVING and payment.leased and payment.client == HERE.name
    assert payment.history[-1] == (State.SERVING, payment.updated_at)
    assert not await store.advance(mine.lease, step(State.REFUND_DUE, since=ANY))
    assert await store.advance(lease, step(State.SETTLED, in_flight=False, redeemed=True))
    assert (await found(store, claim)).redemptions == 1
    assert await store.in_flight(claim.purse) == []


@pytest.mark.parametrize("state", sorted(ANY - REDEEMABLE - {State.SERVING}))
async def test_nothing_else_is_redeemed(store: Store, state: State) -> None:
    claim = make_claim()
    mine = await claimed(store, claim)
    assert await store.advance(mine.lease, step(state, since=ANY))
    assert await redeem(store, claim.id) is None
    assert await redeem(store, "pay_none") is None
    assert (await found(store, claim)).state is state


async def test_what_is_served_is_in_the_queue_until_a_step_ends_it(store: Store) -> None:
    claim = make_claim()
    await settle(store, claim)
    lease = await redeem(store, claim.id)
    assert lease is not None and await store.due(claim.queue, by=HERE.name, limit=9, lease=10) == []
    await store.bury(THERE.name)
    (payment,) = await store.due(claim.queue, by=HERE.name, limit=9, lease=10)
    assert (payment.id, payment.state) == (claim.id, State.SERVING)
    assert not await store.advance(lease, step(State.SETTLED))
    assert await store.advance(payment.lease, step(State.SETTLED, in_flight=False, queued=False))
    await store.bury(HERE.name)
    assert await store.due(claim.queue, by=THERE.name, limit=9, lease=10) == []


async def test_the_lease_of_who_settled_it_does_not_stand_in_the_way(store: Store) -> None:
    claim = make_claim()
    mine = await settle(store, claim, keep_lease=True)
    assert (await found(store, claim)).leased
    assert await redeem(store, claim.id) is not None
    assert await store.renew([mine.lease], lease=60) == frozenset()


async def test_one_serves_at_a_time(store: Store) -> None:
    claim = make_claim()
    await settle(store, claim)
    leases = await asyncio.gather(*(redeem(store, claim.id) for _ in range(20)))
    assert sum(lease is not None for lease in leases) == 1


@pytest.mark.parametrize("how", ["lapsed", "dead", "let go"])
async def test_who_stopped_serving_is_followed_by_another(store: Store, how: str) -> None:
    claim = make_claim()
    await settle(store, claim)
    lease = await redeem(store, claim.id, lease=0 if how == "lapsed" else 60)
    assert lease is not None
    if how == "dead":
        await store.bury(THERE.name)
    elif how == "let go":
        assert await store.advance(lease, step(State.SERVING, since=ANY, in_flight=False))
    again = await redeem(store, claim.id)
    assert again is not None and again.fence == lease.fence + 1
    assert [state for state, _ in (await found(store, claim)).history].count(State.SERVING) == 1


async def test_redemptions_are_bounded(store: Store) -> None:
    claim = make_claim()
    await settle(store, claim)
    for count in (1, 2):
        lease = await redeem(store, claim.id, most=2)
        assert lease is not None
        assert await store.advance(lease, step(State.REFUND_DUE, redeemed=True, in_flight=False))
        assert (await found(store, claim)).redemptions == count
    assert await redeem(store, claim.id, most=2) is None
    assert await redeem(store, claim.id, most=3) is not None


async def test_a_failed_try_that_asked_nobody_is_not_counted(store: Store) -> None:
    claim = make_claim()
    await settle(store, claim)
    lease = await redeem(store, claim.id, most=1)
    assert lease is not None and await store.advance(lease, step(State.REFUND_DUE, in_flight=False))
    assert await redeem(store, claim.id, most=1) is not None


async def test_settled_at_is_the_first_time(store: Store) -> None:
    claim = make_claim()
    await settle(store, claim)
    first = (await found(store, claim)).settled_at
    assert first == (await found(store, claim)).updated_at
    await asyncio.sleep(0.005)
    lease = await redeem(store, claim.id)
    assert lease is not None and await store.advance(lease, step(State.SETTLED, in_flight=False))
    payment = await found(store, claim)
    assert payment.settled_at == first and payment.updated_at > first


# Marks


async def test_marks_are_recorded_in_batches(store: Store) -> None:
    claims = [make_claim() for _ in range(5)]
    for claim in claims:
        await settle(store, claim)
        payment = await found(store, claim)
        assert payment.delivered_at is None and not payment.left
    taken, left = [claim.id for claim in claims[:2]], [claim.id for claim in claims[2:4]]
    await store.mark(delivered=[*taken, "pay_none"], left=[*left, "pay_none", "\udcff"])
    payments = [await found(store, claim) for claim in claims]
    assert [payment.delivered_at is not None for payment in payments] == [True, True, False, False, False]
    assert [payment.left for payment in payments] == [False, False, True, True, False]
    await store.mark()


async def test_delivered_after_all(store: Store) -> None:
    claim = make_claim()
    await settle(store, claim)
    await store.mark(left=[claim.id])
    await store.mark(delivered=[claim.id])
    first = (await found(store, claim)).delivered_at
    assert first is not None
    await asyncio.sleep(0.005)
    await store.mark(delivered=[claim.id], left=[claim.id])
    assert (await found(store, claim)).delivered_at == first

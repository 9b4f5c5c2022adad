"""The contract of both stores: stored answers and how long records live."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from kit.stores import claimed, make_claim, milliseconds_from_now, settle, step

from gateway.payment import Payment, State
from gateway.store import Store

OpenStore = Callable[..., Awaitable[Store]]


async def found(store: Store, payment_id: str) -> Payment:
    payment = await store.find(payment_id)
    assert payment is not None
    return payment


async def test_too_large_an_answer_is_not_stored_but_the_step_is_taken(store: Store) -> None:
    claim = make_claim()
    await settle(store, claim, answer=b"x" * 1001)
    assert await store.answer(claim.id) is None
    assert (await found(store, claim.id)).state is State.SETTLED
    other = make_claim()
    await settle(store, other, answer=b"x" * 1000)
    assert await store.answer(other.id) == b"x" * 1000


async def test_the_delivered_answer_settled_longest_ago_makes_room(store: Store) -> None:
    claims = [make_claim() for _ in range(4)]
    leases = []
    for claim in claims[:3]:
        mine = await claimed(store, claim)
        assert await store.advance(mine.lease, step(State.SERVED, answer=bytes(1000)))
        leases.append(mine.lease)
    for lease in (leases[1], leases[0], leases[2]):
        assert await store.advance(lease, step(State.SETTLED, since=frozenset(State)))
        await asyncio.sleep(0.001)
    await store.mark(delivered=[lease.payment_id for lease in leases])
    await settle(store, claims[3], answer=bytes(900))
    kept = [await store.answer(claim.id) is not None for claim in claims]
    assert kept == [True, False, True, True]


async def test_answers_not_yet_settled_or_not_delivered_are_never_dropped(store: Store) -> None:
    unsettled = [make_claim() for _ in range(4)]
    leases = []
    for claim in unsettled:
        mine = await claimed(store, claim)
        assert await store.advance(mine.lease, step(State.SERVED, answer=bytes(1000)))
        leases.append(mine.lease)
    assert all([await store.answer(claim.id) for claim in unsettled])
    settled = make_claim()
    await settle(store, settled, answer=bytes(1000))
    assert await store.answer(settled.id) is not None
    await store.mark(left=[settled.id])
    assert await store.answer(settled.id) is not None
    await store.mark(delivered=[settled.id, unsettled[2].id])
    assert await store.answer(settled.id) is None
    assert await store.answer(unsettled[2].id) is not None, "its money is still under way"
    assert await store.advance(leases[2], step(State.SETTLED, since=frozenset(State)))
    kept = [await store.answer(claim.id) is not None for claim in unsettled]
    assert kept == [True, True, False, True]


@pytest.mark.parametrize("state", [State.REFUSED, State.RELEASED])
async def test_an_answer_nobody_paid_for_makes_room(store: Store, state: State) -> None:
    claim = make_claim()
    mine = await claimed(store, claim)
    assert await store.advance(mine.lease, step(state, since=frozenset(State), answer=bytes(1000)))
    for _ in range(3):
        assert await store.answer(claim.id) is not None
        await settle(store, make_claim(), answer=bytes(1000))
    assert await store.answer(claim.id) is None


async def test_an_answer_bound_again_no_longer_makes_room(store: Store) -> None:
    claim = make_claim()
    mine = await settle(store, claim, answer=bytes(1000))
    await store.mark(delivered=[claim.id])
    assert await store.advance(mine.lease, step(State.UNKNOWN, since=frozenset(State), in_flight=True))
    for _ in range(3):
        await settle(store, make_claim(), answer=bytes(1000))
    assert await store.answer(claim.id) is not None


async def test_an_answer_replaced_counts_once(store: Store) -> None:
    claim, other = make_claim(), make_claim()
    mine = await settle(store, other, answer=bytes(1000))
    for size in (1000, 900, 1000):
        again = step(State.SETTLED, since=frozenset(State), answer=b"z" * size)
        assert await store.advance(mine.lease, again)
    await settle(store, claim, answer=bytes(1000))
    await settle(store, make_claim(), answer=bytes(1000))
    assert await store.answer(other.id) == b"z" * 1000
    assert await store.answer(claim.id) == bytes(1000)


async def test_answers_are_kept_for_the_replay_window(open_another: OpenStore) -> None:
    store = await open_another(replay_window=0.4)
    claim, waiting = make_claim(), make_claim()
    await settle(store, claim, answer=b"a")
    await store.mark(delivered=[claim.id])
    mine = await claimed(store, waiting)
    assert await store.advance(mine.lease, step(State.SERVED, answer=b"w"))
    assert await store.answer(claim.id) == b"a"
    await asyncio.sleep(0.45)
    assert await store.answer(claim.id) is None
    assert await store.answer(waiting.id) == b"w"
    assert await store.advance(mine.lease, step(State.SETTLED, since=frozenset(State)))
    assert await store.answer(waiting.id) == b"w", "the window begins when the payment is settled"


async def test_an_undelivered_answer_is_kept_while_either_window_is_open(open_another: OpenStore) -> None:
    store = await open_another(replay_window=0.1, redeem_window=0.5)
    claim = make_claim()
    await settle(store, claim, answer=b"a")
    await asyncio.sleep(0.2)
    assert await store.answer(claim.id) == b"a"
    await asyncio.sleep(0.4)
    assert await store.answer(claim.id) is None


async def test_stale_answers_no_longer_take_room(open_another: OpenStore) -> None:
    store = await open_another(replay_window=0.6, redeem_window=0.6)
    await settle(store, make_claim(), answer=bytes(1000))
    await asyncio.sleep(1.9)
    unsettled = make_claim()
    mine = await claimed(store, unsettled)
    assert await store.advance(mine.lease, step(State.SERVED, answer=bytes(1000)))
    claims = [make_claim() for _ in range(2)]
    for claim in claims:
        await settle(store, claim, answer=bytes(1000))
    await store.mark(delivered=[claim.id for claim in claims])
    assert all([await store.answer(claim.id) for claim in claims])


async def test_a_new_claim_has_no_answer(store: Store) -> None:
    claim = make_claim()
    mine = await claimed(store, claim)
    assert await store.advance(mine.lease, step(State.RELEASED, answer=b"old"))
    assert await store.answer(claim.id) == b"old"
    await claimed(store, claim)
    assert await store.answer(claim.id) is None


async def test_a_record_is_forgotten_after_its_time(store: Store) -> None:
    claim = make_claim()
    mine = await settle(store, claim, answer=b"a", forget_at=milliseconds_from_now(0.2))
    assert await store.find(claim.id) is not None
    await asyncio.sleep(0.3)
    for _ in range(2):
        assert await store.find(claim.id) is None
        assert await store.answer(claim.id) is None
        assert await store.states([claim.id]) == {}
        assert (await store.listing(state=None, route=None, limit=9, cursor=None)) == ([], None)
        assert not await store.advance(mine.lease, step(State.REFUSED, since=frozenset(State)))
        assert await store.renew([mine.lease], lease=1) == frozenset()
        await asyncio.sleep(1.2)


async def test_a_forgotten_record_is_claimed_as_new(store: Store) -> None:
    claim = make_claim()
    mine = await settle(store, claim, forget_at=milliseconds_from_now(-1))
    theirs = await claimed(store, claim)
    assert theirs.attempt == 1 and theirs.created_at >= mine.created_at
    await asyncio.sleep(1.3)
    assert (await found(store, claim.id)).state is State.RESERVED
    listed, _ = await store.listing(state=State.SETTLED, route=None, limit=9, cursor=None)
    assert listed == []


@pytest.mark.parametrize("forget_at", [None, 2**256 * 1000, 7_300_000_000_000])
async def test_none_and_the_far_future_keep_for_ever(store: Store, forget_at: int | None) -> None:
    claim = make_claim()
    mine = await claimed(store, claim)
    assert await store.advance(mine.lease, step(State.RELEASED, forget_at=milliseconds_from_now(0.1)))
    again = await claimed(store, claim)
    assert await store.advance(again.lease, step(State.RELEASED, forget_at=forget_at))
    await asyncio.sleep(0.2)
    assert await store.find(claim.id) is not None


async def test_nothing_in_flight_or_queued_is_forgotten(store: Store) -> None:
    past = milliseconds_from_now(-10)
    flying, waiting = make_claim(), make_claim()
    mine = await claimed(store, flying)
    assert await store.advance(mine.lease, step(State.UNKNOWN, since=frozenset(State), forget_at=past))
    mine = await claimed(store, waiting)
    refused = step(State.REFUSED, since=frozenset(State), forget_at=past, queued=True)
    assert await store.advance(mine.lease, refused)
    await asyncio.sleep(1.2)
    assert len(await store.states([flying.id, waiting.id])) == 2
    assert len(await store.in_flight(flying.purse)) == 1

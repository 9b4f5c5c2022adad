"""The contract of both stores: advance, queues, answers, lifetimes and listings."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import chain

import pytest
from kit.stores import claimed, make_claim, milliseconds_from_now, settle, step

from gateway.errors import ClientError
from gateway.payment import Lease, Payment, State
from gateway.store import Store

OpenStore = Callable[..., Awaitable[Store]]


async def found(store: Store, payment_id: str) -> Payment:
    payment = await store.find(payment_id)
    assert payment is not None
    return payment


async def test_a_step_makes_everything_durable_at_once(store: Store, open_another: OpenStore) -> None:
    claim = make_claim()
    mine = await claimed(store, claim)
    served = step(State.SERVED, transaction="0xabc", reason="fine", answer=b"bytes\x00", queued=True)
    assert await store.advance(mine.lease, served)
    elsewhere = await open_another()
    payment = await found(elsewhere, claim.id)
    assert (payment.state, payment.transaction, payment.reason) == (State.SERVED, "0xabc", "fine")
    assert not payment.leased
    assert [state for state, _ in payment.history] == [State.RESERVED, State.SERVED]
    assert payment.history[-1][1] == payment.updated_at >= payment.created_at
    assert await elsewhere.answer(claim.id) == b"bytes\x00"
    assert [one.id for one in await elsewhere.due(claim.queue, limit=5, lease=1)] == [claim.id]


async def test_a_step_needs_the_fence_and_the_state(store: Store) -> None:
    claim = make_claim()
    mine = await claimed(store, claim)
    assert not await store.advance(Lease(claim.id, mine.lease.fence - 1), step(State.SERVED))
    assert not await store.advance(Lease(claim.id, mine.lease.fence + 1), step(State.SERVED))
    assert not await store.advance(mine.lease, step(State.SETTLED))
    assert not await store.advance(mine.lease, step(State.SERVED, since=frozenset()))
    payment = await found(store, claim.id)
    assert payment.state is State.RESERVED and payment.leased and len(payment.history) == 1


async def test_none_leaves_transaction_and_reason(store: Store) -> None:
    claim = make_claim()
    mine = await claimed(store, claim)
    assert await store.advance(mine.lease, step(State.SERVED, transaction="0xabc", reason="r"))
    assert await store.advance(mine.lease, step(State.SETTLING))
    payment = await found(store, claim.id)
    assert (payment.transaction, payment.reason) == ("0xabc", "r")
    assert await store.advance(mine.lease, step(State.REFUSED, transaction="", reason=""))
    payment = await found(store, claim.id)
    assert (payment.transaction, payment.reason) == ("", "")


async def test_the_lease_stays_only_when_kept(store: Store) -> None:
    claim = make_claim()
    mine = await claimed(store, claim)
    before = await found(store, claim.id)
    assert await store.advance(mine.lease, step(State.SERVED, keep_lease=True))
    assert (await found(store, claim.id)).leased_until == before.leased_until
    assert await store.advance(mine.lease, step(State.SETTLING))
    assert not (await found(store, claim.id)).leased


async def test_a_step_within_a_state_leaves_no_mark(store: Store) -> None:
    claim = make_claim()
    mine = await claimed(store, claim)
    for _ in range(3):
        assert await store.advance(mine.lease, step(State.SETTLING, since=frozenset(State), reason="again"))
    payment = await found(store, claim.id)
    assert [state for state, _ in payment.history] == [State.RESERVED, State.SETTLING]
    assert payment.reason == "again"


async def test_one_of_many_takes_a_step(open_another: OpenStore) -> None:
    stores = [await open_another(), await open_another()]
    mine = await claimed(stores[0], make_claim())
    steps = [stores[n % 2].advance(mine.lease, step(State.SERVED)) for n in range(100)]
    assert sum(await asyncio.gather(*steps)) == 1


# Queues


async def queued(store: Store, queue: str, **changes: object) -> Lease:
    mine = await claimed(store, make_claim(queue=queue))
    assert await store.advance(mine.lease, step(State.SERVED, queued=True, **changes))
    return mine.lease


async def test_due_leases_in_the_order_joined(store: Store) -> None:
    first, second, third = [await claimed(store, make_claim(queue="q")) for _ in range(3)]
    for mine in (second, third, first):
        assert await store.advance(mine.lease, step(State.SERVED, queued=True))
    taken = await store.due("q", limit=2, lease=10)
    assert [payment.id for payment in taken] == [second.lease.payment_id, third.lease.payment_id]
    for payment, mine in zip(taken, (second, third), strict=True):
        assert payment.state is State.SETTLING and payment.leased
        assert payment.fence == mine.lease.fence + 1
        assert payment.history[-1][0] is State.SETTLING
        assert not await store.advance(mine.lease, step(State.SETTLED))
    assert [payment.id for payment in await store.due("q", limit=9, lease=10)] == [first.lease.payment_id]
    assert await store.due("q", limit=9, lease=10) == []
    assert await store.due("other", limit=9, lease=10) == []


async def test_due_again_when_the_lease_lapses(store: Store) -> None:
    lease = await queued(store, "q")
    (once,) = await store.due("q", limit=9, lease=0.05)
    await asyncio.sleep(0.1)
    (twice,) = await store.due("q", limit=9, lease=10)
    assert twice.fence == once.fence + 1 == lease.fence + 2
    assert twice.history == once.history
    assert not await store.advance(once.lease, step(State.SETTLED))
    assert await store.advance(twice.lease, step(State.SETTLED, queued=False))


async def test_due_leaves_what_is_leased_or_not_to_settle(store: Store) -> None:
    await queued(store, "q", keep_lease=True)
    settled = await queued(store, "q")
    assert await store.advance(settled, step(State.SETTLED, since=frozenset(State)))
    unknown = await queued(store, "q")
    assert await store.advance(unknown, step(State.UNKNOWN, since=frozenset(State)))
    fits = await queued(store, "q")
    assert [payment.id for payment in await store.due("q", limit=9, lease=1)] == [fits.payment_id]


async def test_an_entry_leaves_only_by_a_step(store: Store) -> None:
    lease = await queued(store, "q")
    assert await store.advance(lease, step(State.SETTLING, queued=None))
    assert await store.advance(lease, step(State.SETTLING, queued=True))
    (payment,) = await store.due("q", limit=9, lease=0.01)
    await asyncio.sleep(0.03)
    assert await store.advance(payment.lease, step(State.SETTLING, queued=False))
    assert await store.due("q", limit=9, lease=1) == []
    assert await store.advance(payment.lease, step(State.SETTLING, queued=True))
    assert len(await store.due("q", limit=9, lease=1)) == 1


async def test_joining_twice_keeps_the_place(store: Store) -> None:
    first = await queued(store, "q")
    second = await queued(store, "q")
    assert await store.advance(first, step(State.SETTLING, queued=True))
    taken = await store.due("q", limit=9, lease=1)
    assert [payment.id for payment in taken] == [first.payment_id, second.payment_id]


async def test_two_workers_never_lease_the_same(open_another: OpenStore) -> None:
    stores = [await open_another(), await open_another()]
    await asyncio.gather(*(queued(stores[n % 2], "q") for n in range(120)))
    batches = await asyncio.gather(*(stores[n % 2].due("q", limit=10, lease=10) for n in range(20)))
    ids = [payment.id for batch in batches for payment in batch]
    assert len(ids) == len(set(ids)) == 120


# Answers


async def test_too_large_an_answer_is_not_stored_but_the_step_is_taken(store: Store) -> None:
    claim = make_claim()
    await settle(store, claim, answer=b"x" * 1001)
    assert await store.answer(claim.id) is None
    assert (await found(store, claim.id)).state is State.SETTLED
    other = make_claim()
    await settle(store, other, answer=b"x" * 1000)
    assert await store.answer(other.id) == b"x" * 1000


async def test_the_answer_settled_longest_ago_makes_room(store: Store) -> None:
    claims = [make_claim() for _ in range(4)]
    leases = []
    for claim in claims[:3]:
        mine = await claimed(store, claim)
        assert await store.advance(mine.lease, step(State.SERVED, answer=bytes(1000)))
        leases.append(mine.lease)
    for lease in (leases[1], leases[0], leases[2]):
        assert await store.advance(lease, step(State.SETTLED, since=frozenset(State)))
        await asyncio.sleep(0.001)
    await settle(store, claims[3], answer=bytes(900))
    kept = [await store.answer(claim.id) is not None for claim in claims]
    assert kept == [True, False, True, True]


async def test_answers_of_payments_not_yet_settled_are_never_dropped(store: Store) -> None:
    unsettled = [make_claim() for _ in range(4)]
    leases = []
    for claim in unsettled:
        mine = await claimed(store, claim)
        assert await store.advance(mine.lease, step(State.SERVED, answer=bytes(1000)))
        leases.append(mine.lease)
    assert all([await store.answer(claim.id) for claim in unsettled])
    settled = make_claim()
    await settle(store, settled, answer=bytes(1000))
    assert await store.answer(settled.id) is None
    assert await store.advance(leases[2], step(State.SETTLED, since=frozenset(State)))
    kept = [await store.answer(claim.id) is not None for claim in unsettled]
    assert kept == [True, True, False, True]


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
    mine = await claimed(store, waiting)
    assert await store.advance(mine.lease, step(State.SERVED, answer=b"w"))
    assert await store.answer(claim.id) == b"a"
    await asyncio.sleep(0.45)
    assert await store.answer(claim.id) is None
    assert await store.answer(waiting.id) == b"w"
    assert await store.advance(mine.lease, step(State.SETTLED, since=frozenset(State)))
    assert await store.answer(waiting.id) == b"w", "the window begins when the payment is settled"


async def test_stale_answers_no_longer_take_room(open_another: OpenStore) -> None:
    store = await open_another(replay_window=0.1)
    await settle(store, make_claim(), answer=bytes(1000))
    await asyncio.sleep(2.2)
    unsettled = make_claim()
    mine = await claimed(store, unsettled)
    assert await store.advance(mine.lease, step(State.SERVED, answer=bytes(1000)))
    claims = [make_claim() for _ in range(2)]
    for claim in claims:
        await settle(store, claim, answer=bytes(1000))
    assert all([await store.answer(claim.id) for claim in claims])


async def test_a_new_claim_has_no_answer(store: Store) -> None:
    claim = make_claim()
    mine = await claimed(store, claim)
    assert await store.advance(mine.lease, step(State.RELEASED, answer=b"old"))
    assert await store.answer(claim.id) == b"old"
    await claimed(store, claim)
    assert await store.answer(claim.id) is None


# Lifetimes


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


# Listings


async def pages(store: Store, limit: int, **filters: object) -> list[list[str]]:
    collected: list[list[str]] = []
    cursor: str | None = None
    while True:
        page, cursor = await store.listing(
            **({"state": None, "route": None} | filters),  # type: ignore[arg-type]
            limit=limit,
            cursor=cursor,
        )
        collected.append([payment.id for payment in page])
        if cursor is None:
            return collected


def flat(collected: list[list[str]]) -> list[str]:
    return list(chain.from_iterable(collected))


async def test_listing_is_newest_first_in_pages(store: Store) -> None:
    claims = [make_claim(route="a" if n % 2 else "b") for n in range(7)]
    for n, claim in enumerate(claims):
        if n < 3:
            await settle(store, claim)
        else:
            await claimed(store, claim)
    newest = [claim.id for claim in reversed(claims)]
    assert await pages(store, 100) == [newest]
    assert (await pages(store, 3))[:2] == [newest[:3], newest[3:6]]
    assert flat(await pages(store, 3)) == newest
    assert flat(await pages(store, 7)) == newest
    assert flat(await pages(store, 1, state=State.SETTLED)) == newest[4:]
    assert flat(await pages(store, 2, route="a")) == newest[1::2]
    assert flat(await pages(store, 2, route="a", state=State.RESERVED)) == [newest[1], newest[3]]
    assert await pages(store, 2, route="none") == [[]]


async def test_pages_stay_put_while_payments_come(store: Store) -> None:
    old = [make_claim() for _ in range(4)]
    for claim in old:
        await claimed(store, claim)
    first, cursor = await store.listing(state=None, route=None, limit=2, cursor=None)
    await claimed(store, make_claim())
    second, _ = await store.listing(state=None, route=None, limit=2, cursor=cursor)
    assert [payment.id for payment in first + second] == [claim.id for claim in reversed(old)]


@pytest.mark.parametrize("cursor", ["", "x", "-1", "1 OR 1", "٣", "9" * 40, "(1"])
async def test_a_strange_cursor_is_the_clients_fault(store: Store, cursor: str) -> None:
    with pytest.raises(ClientError):
        await store.listing(state=None, route=None, limit=2, cursor=cursor)


async def test_a_rare_kind_is_found_page_by_page(store: Store) -> None:
    rare = make_claim(route="rare")
    await settle(store, rare)
    await asyncio.gather(*(settle(store, make_claim(route="often")) for _ in range(1200)))
    collected = await pages(store, 10, route="rare", state=State.SETTLED)
    assert len(collected) <= 3
    assert flat(collected) == [rare.id]

"""The contract of both stores: advance and queues."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from kit.stores import HERE, claimed, make_claim, step

from gateway.payment import Lease, Payment, Standing, State
from gateway.store import Store

OpenStore = Callable[..., Awaitable[Store]]
ANY_BYTES = bytes(range(256)) * 15
"""Nearly 4 KiB, and no text."""


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
    assert [one.id for one in await elsewhere.due(claim.queue, by=HERE.name, limit=5, lease=1)] == [claim.id]


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


async def test_a_note_is_part_of_its_step(store: Store, open_another: OpenStore) -> None:
    claim = make_claim()
    mine = await claimed(store, claim)
    assert (await found(store, claim.id)).note == b""
    assert not await store.advance(mine.lease, step(State.SETTLED, note=b"too early"))
    assert (await found(store, claim.id)).note == b""
    assert await store.advance(mine.lease, step(State.SERVED, note=ANY_BYTES, keep_lease=True))
    elsewhere = await open_another()
    assert (await found(elsewhere, claim.id)).note == ANY_BYTES
    assert await store.advance(mine.lease, step(State.SETTLING))
    assert (await found(store, claim.id)).note == ANY_BYTES, "None leaves it"
    assert await store.advance(mine.lease, step(State.SETTLED, note=b""))
    assert (await found(store, claim.id)).note == b""


async def test_every_read_of_a_payment_shows_its_note(store: Store) -> None:
    claim = make_claim(queue="q", purse="p")
    mine = await claimed(store, claim)
    assert await store.advance(mine.lease, step(State.SERVED, note=ANY_BYTES, queued=True))
    standing = await store.reserve(claim, by=HERE.name, lease=10, max_attempts=5)
    assert isinstance(standing, Standing)
    listed, _ = await store.listing(state=State.SERVED, route=None, limit=9, cursor=None)
    seen = [standing.payment, *listed, *await store.in_flight("p")]
    seen += await store.due("q", by=HERE.name, limit=9, lease=10)
    assert [payment.note for payment in seen] == [ANY_BYTES] * 4
    assert {payment.terms for payment in seen} == {claim.terms}


async def test_a_new_claim_has_no_note(store: Store) -> None:
    claim = make_claim()
    mine = await claimed(store, claim)
    assert await store.advance(mine.lease, step(State.RELEASED, note=b"old"))
    assert (await found(store, claim.id)).note == b"old"
    again = await claimed(store, claim)
    assert (await found(store, claim.id)).note == b""
    assert await store.advance(again.lease, step(State.RESERVED, in_flight=True, note=b"new"))
    await claimed(store, claim)
    assert (await found(store, claim.id)).note == b""


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
    taken = await store.due("q", by=HERE.name, limit=2, lease=10)
    assert [payment.id for payment in taken] == [second.lease.payment_id, third.lease.payment_id]
    for payment, mine in zip(taken, (second, third), strict=True):
        assert payment.state is State.SETTLING and payment.leased
        assert payment.fence == mine.lease.fence + 1
        assert payment.history[-1][0] is State.SETTLING
        assert not await store.advance(mine.lease, step(State.SETTLED))
    assert [payment.id for payment in await store.due("q", by=HERE.name, limit=9, lease=10)] == [
        first.lease.payment_id
    ]
    assert await store.due("q", by=HERE.name, limit=9, lease=10) == []
    assert await store.due("other", by=HERE.name, limit=9, lease=10) == []


async def test_due_again_when_the_lease_lapses(store: Store) -> None:
    lease = await queued(store, "q")
    (once,) = await store.due("q", by=HERE.name, limit=9, lease=0.05)
    await asyncio.sleep(0.1)
    (twice,) = await store.due("q", by=HERE.name, limit=9, lease=10)
    assert twice.fence == once.fence + 1 == lease.fence + 2
    assert twice.history == once.history
    assert not await store.advance(once.lease, step(State.SETTLED))
    assert await store.advance(twice.lease, step(State.SETTLED, queued=False))


async def test_due_leaves_what_is_leased_or_not_to_settle(store: Store) -> None:
    leased = await queued(store, "q")
    assert await store.due("q", by=HERE.name, limit=9, lease=10)
    refused = await queued(store, "q")
    assert await store.advance(refused, step(State.REFUSED, since=frozenset(State)))
    assert await store.due("q", by=HERE.name, limit=9, lease=1) == [], leased


async def test_a_served_payment_is_due_under_its_requests_own_lease(store: Store) -> None:
    """The request still waits, so its payment must not look abandoned; it has nothing left to do."""
    mine = await queued(store, "q", keep_lease=True)
    waiting = await store.find(mine.payment_id)
    assert waiting is not None and waiting.state is State.SERVED and waiting.leased
    (taken,) = await store.due("q", by=HERE.name, limit=9, lease=10)
    assert taken.state is State.SETTLING and not await store.renew([mine], lease=10)


async def test_unknown_is_taken_up_again_and_stays_unknown(store: Store) -> None:
    await queued(store, "q")
    (settling,) = await store.due("q", by=HERE.name, limit=9, lease=0.5)
    assert await store.advance(settling.lease, step(State.UNKNOWN, keep_lease=True))
    assert await store.due("q", by=HERE.name, limit=9, lease=10) == []
    await asyncio.sleep(0.6)
    (again,) = await store.due("q", by=HERE.name, limit=9, lease=10)
    assert again.state is State.UNKNOWN and again.fence == settling.fence + 1
    assert await store.advance(again.lease, step(State.SETTLED, queued=False))


@pytest.mark.parametrize("state", [State.SETTLED, State.SERVING])
async def test_a_paid_answer_that_was_never_handed_out_is_taken_up(store: Store, state: State) -> None:
    lease = await queued(store, "q", keep_lease=True)
    assert await store.advance(lease, step(state, since=frozenset(State), keep_lease=True))
    assert await store.due("q", by=HERE.name, limit=9, lease=10) == []
    assert await store.advance(lease, step(state, since=frozenset(State)))
    (taken,) = await store.due("q", by=HERE.name, limit=9, lease=10)
    assert taken.state is state and taken.fence == lease.fence + 1


async def test_an_entry_leaves_only_by_a_step(store: Store) -> None:
    lease = await queued(store, "q")
    assert await store.advance(lease, step(State.SETTLING, queued=None))
    assert await store.advance(lease, step(State.SETTLING, queued=True))
    (payment,) = await store.due("q", by=HERE.name, limit=9, lease=0.01)
    await asyncio.sleep(0.03)
    assert await store.advance(payment.lease, step(State.SETTLING, queued=False))
    assert await store.due("q", by=HERE.name, limit=9, lease=1) == []
    assert await store.advance(payment.lease, step(State.SETTLING, queued=True))
    assert len(await store.due("q", by=HERE.name, limit=9, lease=1)) == 1


async def test_joining_twice_keeps_the_place(store: Store) -> None:
    first = await queued(store, "q")
    second = await queued(store, "q")
    assert await store.advance(first, step(State.SETTLING, queued=True))
    taken = await store.due("q", by=HERE.name, limit=9, lease=1)
    assert [payment.id for payment in taken] == [first.payment_id, second.payment_id]


async def test_two_workers_never_lease_the_same(open_another: OpenStore) -> None:
    stores = [await open_another(), await open_another()]
    await asyncio.gather(*(queued(stores[n % 2], "q") for n in range(120)))
    batches = await asyncio.gather(
        *(stores[n % 2].due("q", by=HERE.name, limit=10, lease=10) for n in range(20))
    )
    ids = [payment.id for batch in batches for payment in batch]
    assert len(ids) == len(set(ids)) == 120

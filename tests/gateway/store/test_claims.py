"""The contract of both stores: reserve, drop, find, purses, leases and fences."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from kit.stores import HERE, THERE, claimed, make_claim, milliseconds_from_now, settle, step

from gateway.payment import Claimed, Lease, Standing, State
from gateway.store import Store

OpenStore = Callable[..., Awaitable[Store]]


async def test_ping(store: Store) -> None:
    await store.ping()


async def test_a_claim_is_written_whole(store: Store) -> None:
    claim = make_claim(amount=2**256 - 1, expires_at=2**256 - 1, idempotency_key="ключ\udcff:\n,")
    before = int(time.time() * 1000)
    mine = await claimed(store, claim, lease=5)
    payment = await store.find(claim.id)
    assert payment is not None
    for name in ("digest", "rail", "route", "payer", "amount", "asset", "network", "queue", "terms"):
        assert getattr(payment, name) == getattr(claim, name)
    assert payment.expires_at == claim.expires_at
    assert payment.idempotency_key == claim.idempotency_key
    assert (payment.id, payment.state, payment.attempts) == (claim.id, State.RESERVED, 1)
    assert payment.lease == mine.lease == Lease(claim.id, payment.fence)
    assert mine.attempt == 1
    assert before - 50 <= payment.created_at == mine.created_at == payment.updated_at
    assert payment.read_at - 1000 < payment.created_at <= payment.read_at
    assert payment.leased and payment.leased_until == payment.created_at + 5000
    assert (payment.transaction, payment.reason) == ("", "")
    assert payment.history == ((State.RESERVED, payment.created_at),)


async def test_unknown_payments_are_none(store: Store) -> None:
    for strange in ("pay_none", "", "*", "a:b", "\udcff", "x" * 5000, "pay_\x00"):
        assert await store.find(strange) is None
        assert await store.answer(strange) is None
        assert await store.states([strange]) == {}
        assert await store.transactions_of(strange) == []
        assert not await store.drop(Lease(strange, 1))
        assert not await store.advance(Lease(strange, 1), step(State.SERVED))


async def test_the_record_in_the_way_is_returned_unchanged(store: Store) -> None:
    claim = make_claim()
    mine = await claimed(store, claim)
    recorded = await store.find(claim.id)
    again = await store.reserve(claim, by=HERE.name, lease=10, max_attempts=5)
    assert isinstance(again, Standing) and recorded is not None
    assert replace(again.payment, read_at=0) == replace(recorded, read_at=0)
    assert await store.advance(mine.lease, step(State.SERVED))


@pytest.mark.parametrize("state", [State.SERVED, State.SETTLING, State.SETTLED, State.REFUSED, State.UNKNOWN])
async def test_only_released_and_lapsed_reserved_can_be_claimed(store: Store, state: State) -> None:
    claim = make_claim()
    mine = await claimed(store, claim)
    assert await store.advance(mine.lease, step(state, since=frozenset(State)))
    standing = await store.reserve(claim, by=HERE.name, lease=10, max_attempts=5)
    assert isinstance(standing, Standing) and standing.payment.state is state


async def test_released_is_claimed_again_only_by_the_same_request(store: Store) -> None:
    claim = make_claim()
    mine = await claimed(store, claim)
    assert await store.advance(mine.lease, step(State.RELEASED, reason="upstream said no"))
    foreign = await store.reserve(replace(claim, digest="e" * 64), by=HERE.name, lease=10, max_attempts=5)
    assert isinstance(foreign, Standing) and foreign.payment.state is State.RELEASED
    again = await claimed(store, claim)
    assert again.attempt == 2
    assert again.lease.fence == mine.lease.fence + 1
    assert again.created_at == mine.created_at
    payment = await store.find(claim.id)
    assert payment is not None and payment.reason == ""
    assert [state for state, _ in payment.history] == [State.RESERVED, State.RELEASED, State.RESERVED]


async def test_attempts_are_bounded(store: Store) -> None:
    claim = make_claim()
    for attempt in (1, 2, 3):
        mine = await claimed(store, claim, max_attempts=3)
        assert mine.attempt == attempt
        assert await store.advance(mine.lease, step(State.RELEASED))
    exhausted = await store.reserve(claim, by=HERE.name, lease=10, max_attempts=3)
    assert isinstance(exhausted, Standing) and exhausted.payment.attempts == 3


async def test_a_lapsed_claim_is_taken_over_and_its_fence_is_dead(store: Store) -> None:
    claim = make_claim()
    mine = await claimed(store, claim, lease=0.05)
    foreign = await store.reserve(replace(claim, digest="e" * 64), by=HERE.name, lease=10, max_attempts=5)
    assert isinstance(foreign, Standing)
    await asyncio.sleep(0.1)
    foreign = await store.reserve(replace(claim, digest="e" * 64), by=HERE.name, lease=10, max_attempts=5)
    assert isinstance(foreign, Standing) and not foreign.payment.leased
    theirs = await claimed(store, claim)
    assert (theirs.attempt, theirs.lease.fence) == (2, mine.lease.fence + 1)
    assert not await store.advance(mine.lease, step(State.SERVED))
    assert not await store.drop(mine.lease)
    assert await store.renew([mine.lease, theirs.lease], lease=10) == {claim.id}
    assert await store.renew([mine.lease], lease=10) == frozenset()
    assert await store.advance(theirs.lease, step(State.SERVED))


async def test_a_new_claim_brings_its_own_terms(store: Store) -> None:
    claim = make_claim()
    mine = await claimed(store, claim)
    assert await store.advance(mine.lease, step(State.RELEASED))
    other = replace(
        claim, amount=7, purse="other", route="other", queue="other", terms=b"new", idempotency_key="k"
    )
    await claimed(store, other)
    payment = await store.find(claim.id)
    assert payment is not None
    assert (payment.amount, payment.route, payment.queue, payment.terms) == (7, "other", "other", b"new")
    assert payment.idempotency_key == "k"
    assert await store.in_flight(claim.purse) == []
    assert [one.id for one in await store.in_flight("other")] == [claim.id]
    assert (await store.listing(state=None, route=claim.route, limit=9, cursor=None))[0] == []
    assert len((await store.listing(state=None, route="other", limit=9, cursor=None))[0]) == 1


async def test_drop_forgets_a_first_attempt(store: Store) -> None:
    claim = make_claim()
    mine = await claimed(store, claim)
    assert not await store.drop(Lease(claim.id, mine.lease.fence + 1))
    assert await store.drop(mine.lease)
    assert await store.find(claim.id) is None
    assert await store.in_flight(claim.purse) == []
    assert (await store.listing(state=None, route=None, limit=9, cursor=None))[0] == []
    assert not await store.drop(mine.lease)


async def test_a_dropped_claims_fence_never_fits_its_successor(store: Store) -> None:
    claim = make_claim()
    mine = await claimed(store, claim)
    assert await store.drop(mine.lease)
    await asyncio.sleep(0.002)
    theirs = await claimed(store, replace(claim, digest="e" * 64))
    assert theirs.attempt == 1
    assert not await store.drop(mine.lease)
    assert await store.advance(theirs.lease, step(State.SERVED))


async def test_drop_of_a_later_attempt_goes_back_to_released(store: Store) -> None:
    claim = make_claim()
    mine = await claimed(store, claim)
    assert await store.advance(mine.lease, step(State.RELEASED))
    again = await claimed(store, claim)
    assert await store.drop(again.lease)
    payment = await store.find(claim.id)
    assert payment is not None and payment.state is State.RELEASED and not payment.leased
    assert payment.history[-1][0] is State.RELEASED
    assert await store.in_flight(claim.purse) == []
    assert (await claimed(store, claim)).attempt == 3


async def test_drop_gives_back_the_lifetime_released_had(store: Store) -> None:
    claim = make_claim()
    mine = await claimed(store, claim)
    assert await store.advance(mine.lease, step(State.RELEASED, forget_at=milliseconds_from_now(0.3)))
    again = await claimed(store, claim)
    await asyncio.sleep(0.4)
    assert await store.find(claim.id) is not None, "a reserved record does not expire by itself"
    assert await store.drop(again.lease)
    assert await store.find(claim.id) is None


@pytest.mark.parametrize("state", [State.SERVED, State.RELEASED, State.SETTLING])
async def test_only_reserved_can_be_dropped(store: Store, state: State) -> None:
    mine = await claimed(store, make_claim())
    assert await store.advance(mine.lease, step(state, since=frozenset(State), keep_lease=True))
    assert not await store.drop(mine.lease)


async def test_a_purse_counts_what_is_in_flight_elsewhere(store: Store) -> None:
    huge = 2**256 - 1
    first = await claimed(store, make_claim(purse="p", amount=huge))
    assert first.in_flight == 0
    second = await claimed(store, make_claim(purse="p", amount=huge))
    assert second.in_flight == huge
    third = make_claim(purse="p", amount=1)
    assert (await claimed(store, third)).in_flight == 2 * huge
    assert (await claimed(store, make_claim(purse="q", amount=1))).in_flight == 0
    flying = await store.in_flight("p")
    assert [payment.amount for payment in flying] == [huge, huge, 1]
    assert await store.advance(first.lease, step(State.SERVED))
    assert await store.advance(second.lease, step(State.RELEASED))
    assert [payment.state for payment in await store.in_flight("p")] == [State.SERVED, State.RESERVED]
    assert (await claimed(store, make_claim(purse="p", amount=1))).in_flight == huge + 1


async def test_in_flight_follows_the_step_not_the_state(store: Store) -> None:
    claim = make_claim()
    mine = await settle(store, claim)
    assert await store.in_flight(claim.purse) == []
    assert await store.advance(mine.lease, step(State.SETTLED, since=frozenset(State), in_flight=True))
    assert [payment.id for payment in await store.in_flight(claim.purse)] == [claim.id]


async def test_a_reclaim_does_not_count_itself(store: Store) -> None:
    claim = make_claim()
    await claimed(store, claim, lease=0.02)
    await asyncio.sleep(0.05)
    assert (await claimed(store, claim)).in_flight == 0


@pytest.mark.parametrize("instances", [2])
async def test_two_hundred_at_once_make_one_claim(open_another: OpenStore, instances: int) -> None:
    stores = [await open_another() for _ in range(instances)]
    claim = make_claim()
    calls = [stores[n % instances].reserve(claim, by=HERE.name, lease=10, max_attempts=5) for n in range(200)]
    outcomes = await asyncio.gather(*calls)
    assert sum(isinstance(outcome, Claimed) for outcome in outcomes) == 1
    assert all(isinstance(outcome, Claimed) or outcome.payment.attempts == 1 for outcome in outcomes)


async def test_many_claims_on_one_purse_see_each_other(open_another: OpenStore) -> None:
    """However they interleave, exactly one of them sees nothing, one sees one, and so on."""
    stores = [await open_another(), await open_another()]
    claims = [make_claim(purse="p", amount=1) for _ in range(50)]
    mine = await asyncio.gather(*(claimed(stores[n % 2], claim) for n, claim in enumerate(claims)))
    assert sorted(one.in_flight for one in mine) == list(range(50))


async def test_renew_lengthens_and_never_shortens(store: Store) -> None:
    claim = make_claim()
    mine = await claimed(store, claim, lease=5)
    before = await store.find(claim.id)
    assert await store.renew([mine.lease], lease=1) == {claim.id}
    same = await store.find(claim.id)
    assert await store.renew([mine.lease], lease=60) == {claim.id}
    after = await store.find(claim.id)
    assert before is not None and same is not None and after is not None
    assert before.leased_until == same.leased_until < after.leased_until
    assert await store.renew([], lease=1) == frozenset()


async def test_renew_does_not_revive_an_ended_lease(store: Store) -> None:
    claim = make_claim()
    mine = await claimed(store, claim)
    assert await store.advance(mine.lease, step(State.SERVED, queued=True))
    assert await store.renew([mine.lease], lease=60) == frozenset()
    assert len(await store.due(claim.queue, by=HERE.name, limit=1, lease=1)) == 1


async def test_renew_does_not_revive_a_lapsed_lease(store: Store) -> None:
    """Its holder slept: others may have acted on that."""
    claim = make_claim()
    mine = await claimed(store, claim, lease=0.05)
    await asyncio.sleep(0.1)
    assert await store.renew([mine.lease], lease=60) == frozenset()
    found = await store.find(claim.id)
    assert found is not None and not found.leased


async def test_states_of_several(store: Store) -> None:
    first, second = make_claim(), make_claim()
    await claimed(store, first)
    await settle(store, second)
    found = await store.states([first.id, "pay_unknown", second.id])
    assert found == {first.id: State.RESERVED, second.id: State.SETTLED}
    assert await store.states([]) == {}


async def test_keys_cannot_be_confused(store: Store) -> None:
    """Parts of keys that come from elsewhere: separators, patterns, control bytes, lone surrogates."""
    names = [
        "a:b",
        "a",
        "a%3Ab",
        "*",
        "a b\r\nFLUSHALL",
        "\x00",
        "ü",
        "\udcff",
        "'; DROP TABLE payment; --",
        "",
    ]
    for amount, name in enumerate(names):
        claim = make_claim(
            purse=name, route=name, queue=name, payer=name, amount=amount, replay_key=f"k{name!r}"
        )
        mine = await claimed(store, claim)
        assert mine.in_flight == 0
        assert await store.advance(mine.lease, step(State.SERVED, queued=True, reason=name, transaction=name))
    for amount, name in enumerate(names):
        assert [payment.amount for payment in await store.in_flight(name)] == [amount]
        listed, _ = await store.listing(state=None, route=name, limit=9, cursor=None)
        assert [(payment.amount, payment.route, payment.payer) for payment in listed] == [
            (amount, name, name)
        ]
        assert [payment.queue for payment in await store.due(name, by=HERE.name, limit=9, lease=1)] == [name]


@pytest.mark.parametrize("to", [State.SERVED, State.RELEASED, State.RESERVED])
async def test_a_claim_that_others_may_have_passed_over_takes_no_step(store: Store, to: State) -> None:
    """Its lease lapsed, or its holder is dead: the same want may be sold elsewhere by now."""
    lapsed, orphaned = make_claim(), make_claim()
    mine = await claimed(store, lapsed, lease=0.05)
    await store.arrive(THERE)
    theirs = await claimed(store, orphaned, by=THERE.name)
    await store.bury(THERE.name)
    await asyncio.sleep(0.1)
    for lease in (mine.lease, theirs.lease):
        assert not await store.advance(lease, step(to, queued=True))
    assert await store.due(lapsed.queue, by=HERE.name, limit=9, lease=1) == []

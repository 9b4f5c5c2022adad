"""The contract of both stores: what keeps a payer from paying twice for the same request."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from kit.store_time import Clock
from kit.stores import HERE, THERE, claimed, make_claim, settle, step

from gateway.payment import OWED, Claim, Claimed, Standing, State, Why
from gateway.store import SILENT, Store

ANY = frozenset(State)
REDEEM_WINDOW = 30.0
"""As in the conftest."""


def anew(claim: Claim, **changes: object) -> Claim:
    """The same payer asks the same again, with a fresh authorization."""
    fresh = make_claim(payer=claim.payer, digest=claim.digest, route=claim.route, purse=claim.purse)
    return replace(fresh, **changes)  # type: ignore[arg-type]


async def reserve(store: Store, claim: Claim, by: str = HERE.name) -> Claimed | Standing:
    return await store.reserve(claim, by=by, lease=10, max_attempts=5)


async def stands(store: Store, claim: Claim, why: Why, payment_id: str) -> bool:
    """Whether exactly this payment is in the way, and is left as it was."""
    before = await store.find(payment_id)
    outcome = await reserve(store, claim)
    after = await store.find(payment_id)
    assert before is not None and after is not None
    assert replace(before, read_at=0) == replace(after, read_at=0)
    return (
        isinstance(outcome, Standing)
        and outcome.why is why
        and replace(outcome.payment, read_at=0) == replace(before, read_at=0)
    )


async def enter(store: Store, claim: Claim, state: State, **changes: object) -> None:
    """Claimed, and brought into a state in one step."""
    mine = await claimed(store, claim)
    fields = {"since": ANY, "keep_lease": True} | changes
    assert await store.advance(mine.lease, step(state, **fields))


# SAME


async def test_a_queued_claim_is_not_claimed_again(store: Store) -> None:
    """A lost answer is to be settled: only the queue gives it out."""
    claim = make_claim()
    await enter(store, claim, State.RESERVED, queued=True, keep_lease=False)
    assert await stands(store, claim, Why.SAME, claim.id)


async def test_the_same_authorization_comes_before_its_key(store: Store) -> None:
    claim = make_claim(idempotency_key="k")
    await settle(store, claim)
    assert await stands(store, claim, Why.SAME, claim.id)


# KEYED


@pytest.mark.parametrize("digest", ["same", "other"])
async def test_a_key_answers_for_payer_and_route(store: Store, digest: str) -> None:
    claim = make_claim(idempotency_key="k")
    await settle(store, claim)
    await store.mark(delivered=[claim.id])
    again = anew(claim, idempotency_key="k", **({} if digest == "same" else {"digest": "e" * 64}))
    assert await stands(store, again, Why.KEYED, claim.id)
    for changes in (
        {"idempotency_key": "K"},
        {"idempotency_key": None},
        {"payer": "0xother"},
        {"route": "o"},
    ):
        await claimed(store, replace(anew(again), **changes))  # type: ignore[arg-type]


async def test_parts_of_a_key_cannot_be_confused(store: Store) -> None:
    await settle(store, make_claim(payer="a:b", route="c", idempotency_key="d"))
    await claimed(store, make_claim(payer="a", route="b:c", idempotency_key="d"))
    await claimed(store, make_claim(payer="a", route="b", idempotency_key="c:d"))
    await claimed(store, make_claim(payer="a", route="b", idempotency_key="\udcff"))


@pytest.mark.parametrize("state", [State.RELEASED, State.REFUSED])
async def test_a_key_is_free_again_where_nothing_was_bought(store: Store, state: State) -> None:
    claim = make_claim(idempotency_key="k")
    await enter(store, claim, state)
    await claimed(store, anew(claim, idempotency_key="k"))


async def test_a_key_stands_while_its_claim_is_live(store: Store) -> None:
    claim = make_claim(idempotency_key="k")
    await claimed(store, claim, lease=0.3)
    assert await stands(store, anew(claim, idempotency_key="k"), Why.KEYED, claim.id)
    await asyncio.sleep(0.35)
    again = anew(claim, idempotency_key="k")
    await claimed(store, again)
    assert await stands(store, anew(claim, idempotency_key="k"), Why.KEYED, again.id), "the one claimed last"


async def test_a_claim_that_lost_its_key_to_another_is_stopped_by_it(store: Store) -> None:
    first = make_claim(idempotency_key="k")
    await enter(store, first, State.RELEASED)
    second = anew(first, idempotency_key="k")
    await settle(store, second)
    assert await stands(store, first, Why.KEYED, second.id)


async def test_a_claim_with_another_key_gives_its_former_one_back(store: Store) -> None:
    claim = make_claim(idempotency_key="k")
    await enter(store, claim, State.RELEASED)
    mine = await claimed(store, replace(claim, idempotency_key="other"))
    assert await store.advance(mine.lease, step(State.SETTLED, since=ANY))
    await claimed(store, anew(claim, idempotency_key="k", digest="e" * 64))
    assert await stands(store, anew(claim, idempotency_key="other"), Why.KEYED, claim.id)


async def test_a_forgotten_or_dropped_record_frees_its_key(store: Store) -> None:
    claim = make_claim(idempotency_key="k")
    await settle(store, claim, forget_at=0)
    mine = await claimed(store, anew(claim, idempotency_key="k"))
    assert await store.drop(mine.lease)
    await claimed(store, anew(claim, idempotency_key="k"))


# LOST


@pytest.mark.parametrize("state", sorted({*OWED, State.RESERVED}))
@pytest.mark.parametrize("silent", [True, False])
async def test_a_lost_answer_is_not_bought_again(
    store: Store, clock: Clock, state: State, silent: bool
) -> None:
    claim = make_claim()
    await enter(store, claim, state)
    if silent:
        clock.signs(SILENT + 0.1)
    else:
        await store.mark(left=[claim.id])
    assert await stands(store, anew(claim), Why.LOST, claim.id)
    await claimed(store, anew(claim, payer="0xother"))
    await claimed(store, anew(claim, digest="e" * 64))


@pytest.mark.parametrize("state", sorted(OWED))
async def test_the_clients_of_the_dead_are_gone(store: Store, state: State) -> None:
    claim = make_claim()
    await enter(store, claim, state)
    await store.bury(HERE.name)
    assert await stands(store, anew(claim), Why.LOST, claim.id)


@pytest.mark.parametrize("queued", [True, False])
async def test_a_claim_of_the_dead_is_lost_only_when_it_is_queued(store: Store, queued: bool) -> None:
    claim = make_claim()
    await enter(store, claim, State.RESERVED, queued=queued)
    await store.bury(HERE.name)
    if queued:
        assert await stands(store, anew(claim), Why.LOST, claim.id)
    else:
        await claimed(store, anew(claim))


@pytest.mark.parametrize("state", [State.RELEASED, State.REFUSED])
async def test_nothing_is_lost_where_nothing_was_bought(store: Store, state: State) -> None:
    claim = make_claim()
    await enter(store, claim, state)
    await store.mark(left=[claim.id])
    again = await claimed(store, anew(claim))
    assert again.beside == frozenset()


async def test_a_client_that_waits_buys_as_often_as_it_likes(store: Store) -> None:
    """Who waits where is told: a dead instance did not count as gone yet."""
    await store.arrive(THERE)
    first = make_claim()
    assert (await settle(store, first)).beside == frozenset()
    second = await claimed(store, anew(first), by=THERE.name)
    assert second.beside == {HERE.name}
    third = await claimed(store, anew(first))
    assert third.beside == {HERE.name, THERE.name}
    await store.mark(delivered=[first.id, second.lease.payment_id, third.lease.payment_id])
    assert (await claimed(store, anew(first))).beside == frozenset()


async def test_a_delivered_answer_is_bought_again(store: Store) -> None:
    claim = make_claim()
    await settle(store, claim)
    await store.mark(delivered=[claim.id])
    await store.mark(left=[claim.id])
    payment = await store.find(claim.id)
    assert payment is not None and payment.delivered_at is not None and not payment.left
    await claimed(store, anew(claim))


async def test_a_lost_answer_is_given_for_the_redeem_window(store: Store, clock: Clock) -> None:
    claim = make_claim()
    await settle(store, claim)
    await store.mark(left=[claim.id])
    clock.records(REDEEM_WINDOW - 2)
    assert await stands(store, anew(claim), Why.LOST, claim.id)
    clock.records(2)
    await claimed(store, anew(claim))


@pytest.mark.parametrize("state", sorted(OWED - {State.SETTLED}))
async def test_what_is_not_settled_stays_lost_for_longer(store: Store, clock: Clock, state: State) -> None:
    claim = make_claim()
    mine = await settle(store, claim)
    assert await store.advance(mine.lease, step(state, since=ANY))
    await store.mark(left=[claim.id])
    clock.records(REDEEM_WINDOW + 1)
    assert await stands(store, anew(claim), Why.LOST, claim.id)


@pytest.mark.parametrize("paid", [State.SETTLED, State.REFUND_DUE])
async def test_what_is_paid_for_comes_first(store: Store, paid: State) -> None:
    claim = make_claim()
    older, owed = anew(claim), anew(claim)
    for each, state in ((older, State.UNKNOWN), (owed, paid), (anew(claim), State.SETTLED)):
        await enter(store, each, State.SETTLED)
        mine = await store.find(each.id)
        assert mine is not None and await store.advance(mine.lease, step(state, since=ANY))
    await store.mark(left=[older.id, owed.id])
    assert await stands(store, anew(claim), Why.LOST, owed.id)


async def test_a_key_comes_before_a_lost_answer(store: Store) -> None:
    lost, keyed = make_claim(), make_claim(idempotency_key="k")
    keyed = replace(keyed, payer=lost.payer, digest=lost.digest)
    await settle(store, lost)
    await settle(store, keyed)
    await store.mark(left=[lost.id])
    assert await stands(store, anew(lost, idempotency_key="k"), Why.KEYED, keyed.id)


async def test_a_new_attempt_has_a_client_of_its_own(store: Store) -> None:
    await store.arrive(THERE)
    claim = make_claim()
    await enter(store, claim, State.RELEASED)
    await store.mark(left=[claim.id])
    mine = await claimed(store, claim, by=THERE.name)
    payment = await store.find(claim.id)
    assert payment is not None and not payment.left and payment.client == THERE.name
    assert (await claimed(store, anew(claim))).beside == {THERE.name}
    assert await store.advance(mine.lease, step(State.RELEASED))
    await store.mark(delivered=[claim.id])
    await claimed(store, claim)
    payment = await store.find(claim.id)
    assert payment is not None and payment.delivered_at is None


async def test_many_wait_for_the_same_in_parallel(store: Store) -> None:
    claim = make_claim()
    outcomes = await asyncio.gather(*(claimed(store, anew(claim)) for _ in range(50)))
    assert all(outcome.beside <= {HERE.name} for outcome in outcomes)
    await store.mark(left=[outcomes[20].lease.payment_id])
    assert await stands(store, anew(claim), Why.LOST, outcomes[20].lease.payment_id)
    assert await store.drop(outcomes[20].lease)
    await claimed(store, anew(claim))

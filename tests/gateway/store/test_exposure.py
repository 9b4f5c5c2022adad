"""The contract of both stores: what ``deferred`` may put at risk, and losses."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from kit.store_time import Clock
from kit.stores import HERE, claimed, eventually, make_claim, milliseconds_from_now, step

from gateway.payment import LOSS_KEPT, Caps, Claim, Claimed, Lease, Moment, State
from gateway.store import Store

OpenStore = Callable[..., Awaitable[Store]]
CAPS = Caps(per_payer=10, total=25)
ANY = frozenset(State)


def deferred(exposure: int, payer: str = "a", **changes: Any) -> Claim:
    return make_claim(moment=Moment.DEFERRED, exposure=exposure, payer=payer, **changes)


async def moment(store: Store, claim: Claim, caps: Caps | None = CAPS) -> Moment:
    """As it is recorded, and as the claimant is told."""
    told = await claimed(store, claim, caps=caps)
    payment = await store.find(claim.id)
    assert payment is not None and payment.moment is told.moment
    return told.moment


async def lose(store: Store, lease: Lease, **changes: Any) -> None:
    assert await store.advance(lease, step(State.REFUSED, since=ANY, lost=True, **changes))


@pytest.mark.parametrize("own", [Moment.AFTER, Moment.BEFORE])
async def test_other_moments_put_nothing_at_risk(store: Store, own: Moment) -> None:
    for _ in range(3):
        claim = replace(deferred(10), moment=own)
        assert await moment(store, claim) is own
    assert await moment(store, deferred(10)) is Moment.DEFERRED


async def test_a_payer_is_deferred_up_to_its_cap(store: Store) -> None:
    assert await moment(store, deferred(11)) is Moment.AFTER
    assert await moment(store, deferred(6)) is Moment.DEFERRED
    assert await moment(store, deferred(5)) is Moment.AFTER
    assert await moment(store, deferred(4)) is Moment.DEFERRED
    assert await moment(store, deferred(1)) is Moment.AFTER
    assert await moment(store, deferred(10, payer="b")) is Moment.DEFERRED


async def test_all_payers_are_deferred_up_to_the_total(store: Store) -> None:
    for payer in "ab":
        assert await moment(store, deferred(10, payer)) is Moment.DEFERRED
    assert await moment(store, deferred(6, "c")) is Moment.AFTER
    assert await moment(store, deferred(5, "d")) is Moment.DEFERRED
    assert await moment(store, deferred(1, "e")) is Moment.AFTER
    assert await moment(store, deferred(1, "e"), caps=None) is Moment.DEFERRED


async def test_many_at_once_stay_under_the_cap(open_another: OpenStore) -> None:
    stores = [await open_another(), await open_another()]
    claims = [deferred(1) for _ in range(40)]
    outcomes = await asyncio.gather(
        *(claimed(stores[n % 2], claim, caps=CAPS) for n, claim in enumerate(claims))
    )
    assert sum(outcome.moment is Moment.DEFERRED for outcome in outcomes) == CAPS.per_payer


async def test_caps_beyond_all_measure(store: Store) -> None:
    huge = Caps(2**256, 2**256)
    assert await moment(store, deferred(2**200, payer="a"), huge) is Moment.DEFERRED
    assert await moment(store, deferred(1, payer="a"), huge) is Moment.AFTER
    assert await moment(store, deferred(1, payer="*"), CAPS) is Moment.AFTER


async def test_an_exposure_counts_while_the_payment_is_in_flight(store: Store) -> None:
    claim = deferred(10)
    mine = await claimed(store, claim, caps=CAPS)
    for state in (State.SERVED, State.SETTLING, State.UNKNOWN):
        assert await store.advance(mine.lease, step(state, since=ANY))
        assert await moment(store, deferred(1)) is Moment.AFTER
    assert await store.advance(mine.lease, step(State.SETTLED))
    assert await moment(store, deferred(10)) is Moment.DEFERRED


@pytest.mark.parametrize("end", ["drop", "release", "refuse"])
async def test_an_exposure_ends_with_its_claim(store: Store, end: str) -> None:
    mine = await claimed(store, deferred(10), caps=CAPS)
    if end == "drop":
        assert await store.drop(mine.lease)
    else:
        to = State.RELEASED if end == "release" else State.REFUSED
        assert await store.advance(mine.lease, step(to, since=ANY))
    assert await moment(store, deferred(10)) is Moment.DEFERRED
    assert await moment(store, deferred(1)) is Moment.AFTER


async def test_a_new_attempt_does_not_count_beside_itself(store: Store) -> None:
    claim = deferred(10)
    for _ in range(3):
        told = await claimed(store, claim, caps=CAPS, lease=0)
        assert told.moment is Moment.DEFERRED
    assert await moment(store, deferred(1)) is Moment.AFTER
    after = await claimed(store, replace(claim, moment=Moment.AFTER))
    assert after.moment is Moment.AFTER
    assert await moment(store, deferred(10)) is Moment.DEFERRED


async def test_a_loss_goes_on_counting_and_bars_its_payer(store: Store) -> None:
    mine = await claimed(store, deferred(10), caps=CAPS)
    await lose(store, mine.lease)
    assert await moment(store, deferred(1)) is Moment.AFTER
    assert await moment(store, deferred(1), caps=None) is Moment.AFTER
    assert await moment(store, deferred(10, payer="b")) is Moment.DEFERRED
    assert await moment(store, deferred(6, payer="c")) is Moment.AFTER, "10 lost, 10 in flight"
    assert await moment(store, deferred(5, payer="c")) is Moment.DEFERRED


async def test_what_was_not_deferred_is_no_loss(store: Store) -> None:
    mine = await claimed(store, make_claim(payer="a", exposure=5))
    await lose(store, mine.lease)
    assert await moment(store, deferred(10)) is Moment.DEFERRED


async def test_money_that_came_after_all_ends_the_loss(store: Store) -> None:
    mine = await claimed(store, deferred(10), caps=CAPS)
    await lose(store, mine.lease)
    assert await store.advance(mine.lease, step(State.SETTLED))
    assert await moment(store, deferred(10)) is Moment.DEFERRED


async def test_a_loss_outlives_its_record_but_not_its_time(store: Store, clock: Clock) -> None:
    claim = deferred(10)
    mine = await claimed(store, claim, caps=CAPS)
    await lose(store, mine.lease, forget_at=milliseconds_from_now(-1))
    await eventually(lambda: store.states([claim.id]), {})
    clock.losses(LOSS_KEPT - 60)
    await asyncio.sleep(1.2)
    assert await moment(store, deferred(1)) is Moment.AFTER
    clock.losses(61)

    async def tried() -> Moment:
        outcome = await store.reserve(deferred(10), by=HERE.name, lease=9, max_attempts=1, caps=CAPS)
        assert isinstance(outcome, Claimed)
        return outcome.moment

    await eventually(tried, Moment.DEFERRED)

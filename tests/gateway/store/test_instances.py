"""The contract of both stores: instances, their death, and what dies with them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from kit.store_time import Clock
from kit.stores import HERE, THERE, claimed, eventually, make_claim, settle, step

from facilitator.base import Outgoing
from gateway.payment import Instance, State
from gateway.store import SILENT, Store
from gateway.store.record import INSTANCE_KEPT_MS

SIBLING = replace(HERE, name="sibling", number=1)


async def names(store: Store) -> list[str]:
    return [instance.name for instance in await store.instances()]


async def test_instances_are_known_until_they_are_buried(store: Store) -> None:
    strange = Instance("a b:\x00%ü\udcff", slot="s:1\n", run="'; --", number=3, process="boot/ns:1")
    await store.arrive(strange)
    assert await store.instances() == sorted([strange, HERE], key=lambda instance: instance.name)
    assert await store.beat(strange.name)
    await store.bury(strange.name)
    await store.bury(strange.name)
    assert await store.instances() == [HERE]
    assert not await store.beat(strange.name)
    assert await store.instances() == [HERE], "a sign does not bring it back"


@pytest.mark.parametrize(
    ("successor", "left"),
    [
        (replace(HERE, name="new", run="r9"), ["new", "there"]),
        (replace(HERE, name="new", run="r9", number=7), ["new", "there"]),
        (replace(HERE, name="new"), ["new", "sibling", "there"]),
        (replace(HERE, name="new", number=2), ["here", "new", "sibling", "there"]),
        (replace(HERE, name="new", slot="host:9", run="r9"), ["here", "new", "sibling", "there"]),
        (HERE, ["here", "sibling", "there"]),
    ],
)
async def test_a_successor_ends_its_predecessors(store: Store, successor: Instance, left: list[str]) -> None:
    """Another run on the slot ends all workers of the former; a worker started again, only its own."""
    await store.arrive(SIBLING)
    await store.arrive(THERE)
    await store.arrive(successor)
    assert await names(store) == left


async def test_a_claim_of_the_dead_is_free_at_once(store: Store) -> None:
    claim = make_claim()
    mine = await claimed(store, claim, lease=60)
    await store.bury(HERE.name)
    await store.arrive(THERE)
    payment = await store.find(claim.id)
    assert payment is not None and not payment.leased and payment.left
    theirs = await claimed(store, claim, by=THERE.name)
    assert (theirs.attempt, theirs.lease.fence) == (2, mine.lease.fence + 1)
    payment = await store.find(claim.id)
    assert payment is not None and payment.leased and not payment.left and payment.client == THERE.name


async def test_a_lease_of_an_instance_nobody_knows_is_dead(store: Store) -> None:
    claim = make_claim()
    await claimed(store, claim, by="nobody")
    assert (await claimed(store, claim)).attempt == 2


async def test_what_the_dead_had_taken_from_the_queue_is_due_again(store: Store) -> None:
    await store.arrive(THERE)
    mine = await claimed(store, make_claim(queue="q"))
    assert await store.advance(mine.lease, step(State.SERVED, queued=True))
    (taken,) = await store.due("q", by=THERE.name, limit=9, lease=60)
    assert await store.due("q", by=HERE.name, limit=9, lease=60) == []
    await store.bury(THERE.name)
    (again,) = await store.due("q", by=HERE.name, limit=9, lease=60)
    assert again.fence == taken.fence + 1 and again.leased
    assert await store.due("q", by=HERE.name, limit=9, lease=60) == []


async def test_silence_is_not_death(store: Store, clock: Clock) -> None:
    """Its clients count as gone, its leases do not; a sign makes it whole again."""
    await store.arrive(THERE)
    claim = make_claim()
    await claimed(store, claim, by=THERE.name, lease=60)
    clock.signs(SILENT - 1)
    payment = await store.find(claim.id)
    assert payment is not None and payment.leased and not payment.left
    clock.signs(1.1)
    payment = await store.find(claim.id)
    assert payment is not None and payment.leased and payment.left
    assert THERE.name in await names(store)
    assert await store.beat(THERE.name)
    payment = await store.find(claim.id)
    assert payment is not None and not payment.left


async def test_a_delivered_answer_was_not_left_by_the_dead(store: Store) -> None:
    claim = make_claim()
    await settle(store, claim)
    await store.mark(delivered=[claim.id])
    await store.bury(HERE.name)
    payment = await store.find(claim.id)
    assert payment is not None and not payment.left


async def test_who_was_silent_for_a_day_is_forgotten(store: Store, clock: Clock) -> None:
    await store.arrive(THERE)
    clock.signs(INSTANCE_KEPT_MS / 1000 - 60)
    assert await store.beat(HERE.name)
    assert await names(store) == ["here", "there"]
    clock.signs(120)
    await eventually(lambda: names(store), ["here"])


async def test_a_hold_of_the_dead_is_free(store: Store) -> None:
    await store.arrive(THERE)
    assert await store.hold("n", HERE.name, lease=60) == 1
    assert await store.hold("n", THERE.name, lease=60) is None
    await store.bury(HERE.name)
    transaction = Outgoing("n", 1, "0x1", b"raw", ("pay_1",))
    assert not await store.record_transaction(1, transaction), "the dead sign nothing"
    assert await store.hold("n", THERE.name, lease=60) == 2
    assert await store.record_transaction(2, transaction)


async def test_an_owner_that_is_no_instance_never_keeps_a_hold(store: Store) -> None:
    assert await store.hold("n", "watch", lease=60) == 1
    assert await store.hold("n", "watch", lease=60) == 2
    assert await store.hold("n", HERE.name, lease=60) == 3
    assert await store.hold("n", "watch", lease=60) is None

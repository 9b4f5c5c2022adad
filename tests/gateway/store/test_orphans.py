"""The contract of both stores: money without a payment."""

from __future__ import annotations

import time

from kit.stores import claimed, make_claim, settle

from gateway.payment import Orphan
from gateway.store import Store


def orphan(number: int, replay_key: str = "") -> Orphan:
    return Orphan(replay_key or f"key {number}", "eip155:1", "0xusdc", "0xp\udcff", 2**256 - number, "0xabc")


async def test_a_finding_is_kept_once(store: Store) -> None:
    before = int(time.time() * 1000)
    assert await store.orphans() == []
    assert await store.note_orphan(orphan(1))
    assert not await store.note_orphan(orphan(2, replay_key="key 1"))
    (kept,) = await store.orphans()
    assert before <= kept.found_at <= time.time() * 1000
    assert kept == Orphan("key 1", "eip155:1", "0xusdc", "0xp\udcff", 2**256 - 1, "0xabc", kept.found_at)


async def test_a_payment_on_record_is_no_orphan(store: Store) -> None:
    known, forgotten = make_claim(), make_claim()
    await claimed(store, known)
    await settle(store, forgotten, forget_at=0)
    assert not await store.note_orphan(orphan(1, replay_key=known.replay_key))
    assert await store.note_orphan(orphan(2, replay_key=forgotten.replay_key))
    assert [one.replay_key for one in await store.orphans()] == [forgotten.replay_key]


async def test_the_newest_thousand_are_shown(store: Store) -> None:
    for number in range(1003):
        assert await store.note_orphan(orphan(number))
    assert [one.replay_key for one in await store.orphans()] == [f"key {n}" for n in range(1002, 2, -1)]

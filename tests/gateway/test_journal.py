"""What is recorded of a payment, under the sender's lease, and what is known of it without asking."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from kit.stores import claimed, make_claim, step

from facilitator.base import Outgoing
from gateway.journal import StoreJournal
from gateway.payment import Instance, State
from gateway.store import Store
from gateway.store.connect import open_store

QUEUE = "eip155:84532:0xsender"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = open_store("embedded", tmp_path, 60.0, 1000, 10_000)
    await opened.open()
    for name in ("me", "other"):
        await opened.arrive(Instance(name, name, "run", 0, ""))
    yield opened
    await opened.close()


async def test_it_refuses_a_former_sender(store: Store) -> None:
    epoch = await store.hold(QUEUE, "me", lease=0.05)
    assert epoch is not None
    await asyncio.sleep(0.1)
    assert await store.hold(QUEUE, "other", lease=10.0) is not None
    transaction = Outgoing(QUEUE, 0, "0x1", b"raw", ("pay_1",))
    assert not await StoreJournal(store, epoch).record(transaction)
    assert await StoreJournal(store, epoch).of("pay_1") == []


async def test_untouched_is_what_began_to_be_settled_just_now(store: Store) -> None:
    """Until a record is tried, whatever comes of it; nothing else ever is."""
    journal = StoreJournal(store, 1)
    claims = [make_claim(queue=QUEUE) for _ in range(2)]
    for claim in claims:
        mine = await claimed(store, claim, by="me")
        assert await store.advance(mine.lease, step(State.SERVED, queued=True))
    first, second = await store.due(QUEUE, by="me", limit=2, lease=0.01)
    journal.begin(first)
    journal.begin(second)
    assert journal.untouched(first.id) and journal.untouched(second.id)
    assert await journal.known([first.id]) == frozenset()
    assert not await journal.record(Outgoing(QUEUE, 0, "0x1", b"raw", (first.id,)))
    journal.end(second)
    assert not journal.untouched(first.id) and not journal.untouched(second.id)

    await asyncio.sleep(0.05)
    for again in await store.due(QUEUE, by="other", limit=2, lease=10.0):
        journal.begin(again)
        assert again.state is State.SETTLING and not journal.untouched(again.id)

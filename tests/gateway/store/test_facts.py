"""The contract of both stores: small facts that rails keep, and that all instances share."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from kit.store_time import Clock
from kit.stores import eventually

from gateway.store import Store
from gateway.store.record import PURGE_BATCH
from gateway.store.sqlite_file import FILE

OpenStore = Callable[..., Awaitable[Store]]
ANY_BYTES = bytes(range(256)) * 4


async def test_a_fact_is_known_to_all_instances(store: Store, open_another: OpenStore) -> None:
    elsewhere = await open_another()
    assert await elsewhere.recall(["balance"]) == [None]
    await store.remember("balance", ANY_BYTES, seconds=60)
    assert await elsewhere.recall(["balance"]) == [ANY_BYTES]
    await elsewhere.forget("balance")
    assert await store.recall(["balance"]) == [None]


async def test_recalled_in_the_order_asked(store: Store) -> None:
    await store.remember("a", b"1", seconds=60)
    await store.remember("b", b"", seconds=60)
    assert await store.recall(["b", "unknown", "a", "b"]) == [b"", None, b"1", b""]
    assert await store.recall([]) == []


async def test_the_last_one_said_wins_with_its_time(store: Store, clock: Clock) -> None:
    await store.remember("longer", b"1", seconds=10)
    await store.remember("longer", b"2", seconds=90)
    await store.remember("shorter", b"1", seconds=90)
    await store.remember("shorter", b"2", seconds=10)
    assert await store.recall(["longer", "shorter"]) == [b"2", b"2"]
    clock.facts(60)
    assert await store.recall(["longer", "shorter"]) == [b"2", None]


async def test_a_fact_ends_with_its_time(store: Store) -> None:
    await store.remember("brief", b"1", seconds=0.1)
    await store.remember("other", b"2", seconds=1000)
    assert await store.recall(["brief", "other"]) == [b"1", b"2"]
    await asyncio.sleep(0.15)
    assert await store.recall(["brief", "other"]) == [None, b"2"]
    await store.remember("brief", b"3", seconds=1000)
    assert await store.recall(["brief"]) == [b"3"]


@pytest.mark.parametrize("seconds", [0, -5, 0.0001])
async def test_what_is_over_when_it_is_said_is_no_fact(store: Store, seconds: float) -> None:
    await store.remember("block", b"1", seconds=60)
    await store.remember("block", b"2", seconds=seconds)
    assert await store.recall(["block"]) == [None]


async def test_forgetting_what_is_unknown_is_no_error(store: Store) -> None:
    await store.remember("a", b"1", seconds=60)
    await store.forget("b")
    await store.forget("b")
    assert await store.recall(["a", "b"]) == [b"1", None]


async def test_any_text_is_a_name_of_its_own(store: Store) -> None:
    names = ["a:b", "a%3Ab", "a", "", "\udcff", "é", "a b", "*"]
    for number, name in enumerate(names):
        await store.remember(name, b"%d" % number, seconds=60)
    assert await store.recall(names) == [b"%d" % number for number in range(len(names))]


async def test_facts_are_no_payments(store: Store) -> None:
    """Whatever they are called."""
    await store.remember("pay_x", b"1", seconds=60)
    assert await store.find("pay_x") is None and await store.answer("pay_x") is None
    assert await store.listing(state=None, route=None, limit=9, cursor=None) == ([], None)


@pytest.mark.parametrize("store_url", ["embedded"])
async def test_facts_that_are_over_leave_the_file(store: Store, tmp_path: Path, clock: Clock) -> None:
    """Many steps of housekeeping, one behind each use of the store."""
    names = [str(number) for number in range(7 * PURGE_BATCH)]
    await asyncio.gather(*(store.remember(name, b"1", seconds=60) for name in names))
    clock.facts(60)

    async def names_in_the_file() -> list[str]:
        await store.remember("kept", b"2", seconds=60)
        with sqlite3.connect(tmp_path / "data" / FILE) as db:
            return [name for (name,) in db.execute("SELECT name FROM fact")]

    await eventually(names_in_the_file, ["kept"])

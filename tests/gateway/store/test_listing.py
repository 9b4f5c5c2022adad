"""The contract of both stores: listings."""

from __future__ import annotations

import asyncio
from itertools import chain

import pytest
from kit.stores import claimed, make_claim, settle

from gateway.errors import ClientError
from gateway.payment import State
from gateway.store import Store


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

"""Leases are renewed while their work goes on, and known to be lost when they are."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import pytest

from gateway import leases
from gateway.errors import StoreUnavailable
from gateway.leases import Leases
from gateway.payment import Lease


class Renewals:
    """Stands where the store is: remembers what it was asked to renew."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.ours: set[str] = set()
        self.down = False
        self.renewed = asyncio.Event()

    async def renew(self, held: Sequence[Lease], *, lease: float) -> frozenset[str]:
        self.renewed.set()
        if self.down:
            raise StoreUnavailable
        self.asked.append([each.payment_id for each in held])
        return frozenset(self.ours)


@pytest.fixture
async def store(monkeypatch: pytest.MonkeyPatch) -> Renewals:
    monkeypatch.setattr(leases, "RENEW", 0.001)
    return Renewals()


async def one_round(store: Renewals) -> None:
    store.renewed.clear()
    async with asyncio.timeout(5):
        await store.renewed.wait()


async def test_a_kept_lease_is_renewed_and_a_finished_one_is_not(store: Renewals) -> None:
    keeper = Leases(store)  # type: ignore[arg-type]
    store.ours = {"pay_a"}
    running = asyncio.create_task(keeper.run())
    with keeper.kept(Lease("pay_a", 1), time.monotonic()) as kept:
        await one_round(store)
        assert store.asked[-1] == ["pay_a"] and not kept.lost
    store.asked.clear()
    await asyncio.sleep(0.01)
    assert store.asked == []
    running.cancel()


async def test_a_lease_that_went_to_somebody_else_is_lost(store: Renewals) -> None:
    keeper = Leases(store)  # type: ignore[arg-type]
    running = asyncio.create_task(keeper.run())
    with keeper.kept(Lease("pay_a", 1), time.monotonic()) as kept:
        await one_round(store)
        await one_round(store)
        assert kept.lost
    running.cancel()


async def test_a_store_that_is_down_loses_nothing_yet(store: Renewals) -> None:
    keeper = Leases(store)  # type: ignore[arg-type]
    store.down, store.ours = True, {"pay_a"}
    running = asyncio.create_task(keeper.run())
    with keeper.kept(Lease("pay_a", 1), time.monotonic()) as kept:
        await one_round(store)
        store.down = False
        await one_round(store)
        await one_round(store)
        assert not kept.lost and store.asked
    running.cancel()

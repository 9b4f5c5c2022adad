"""Marks: what became of answers, recorded in batches and never lost to an outage."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from gateway.deliveries import Deliveries
from gateway.errors import StoreUnavailable


class Marks:
    """A store that records marks, unless it is down; it can be slow."""

    def __init__(self) -> None:
        self.calls: list[tuple[list[str], list[str]]] = []
        self.down = False
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def mark(self, *, delivered: Sequence[str], left: Sequence[str]) -> None:
        await self.go_on.wait()
        if self.down:
            raise StoreUnavailable
        self.calls.append((list(delivered), list(left)))


@pytest.fixture
def marks() -> Marks:
    return Marks()


@pytest.fixture
def deliveries(marks: Marks) -> Deliveries:
    return Deliveries(marks)  # type: ignore[arg-type]


async def test_many_are_recorded_together(marks: Marks, deliveries: Deliveries) -> None:
    for number in range(5):
        deliveries.delivered(f"pay_{number}")
    deliveries.left("pay_9")
    await deliveries.flush()
    assert marks.calls == [([f"pay_{number}" for number in range(5)], ["pay_9"])]
    await deliveries.flush()
    assert len(marks.calls) == 1, "nothing is told twice"


async def test_delivered_wins_over_left(marks: Marks, deliveries: Deliveries) -> None:
    deliveries.left("pay_1")
    deliveries.ended("pay_1", True)
    deliveries.left("pay_1")
    await deliveries.flush()
    assert marks.calls == [(["pay_1"], [])]


async def test_who_is_told_to_come_again_has_left_on_record_first(
    marks: Marks, deliveries: Deliveries
) -> None:
    marks.down = True
    leaving = asyncio.create_task(deliveries.leave("pay_1"))
    await asyncio.sleep(0.15)
    assert not leaving.done()
    marks.down = False
    await leaving
    assert marks.calls == [([], ["pay_1"])]


async def test_but_is_told_all_the_same_where_the_store_stays_away(
    marks: Marks, deliveries: Deliveries, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.deliveries.PATIENCE", 0.1)
    marks.down = True
    await deliveries.leave("pay_1")
    assert marks.calls == []


async def test_an_outage_keeps_them(marks: Marks, deliveries: Deliveries) -> None:
    marks.down = True
    deliveries.delivered("pay_1")
    await deliveries.leave("pay_2")
    marks.down = False
    deliveries.delivered("pay_3")
    await deliveries.flush()
    assert marks.calls == [(["pay_1", "pay_3"], ["pay_2"])]


async def test_who_was_sent_away_is_on_record_before_it_hears_of_it(
    marks: Marks, deliveries: Deliveries
) -> None:
    """Also while another batch, with that very mark, is under way."""
    marks.go_on.clear()
    deliveries.left("pay_1")
    batch = asyncio.create_task(deliveries.flush())
    await asyncio.sleep(0)
    sent_away = asyncio.create_task(deliveries.leave("pay_1"))
    await asyncio.sleep(0.01)
    assert not sent_away.done()
    marks.go_on.set()
    await sent_away
    await batch
    assert marks.calls[0] == ([], ["pay_1"])


async def test_a_client_that_left_is_recorded_at_once(marks: Marks, deliveries: Deliveries) -> None:
    running = asyncio.create_task(deliveries.run())
    await asyncio.sleep(0)
    deliveries.left("pay_1")
    for _ in range(5):
        await asyncio.sleep(0)
    assert marks.calls == [([], ["pay_1"])]
    running.cancel()

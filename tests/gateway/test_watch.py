"""What is known of the store between requests."""

from __future__ import annotations

from typing import Any

import pytest

from gateway import watch
from gateway.errors import StoreUnavailable, StoreUnfit
from gateway.observe import Metrics
from gateway.watch import StoreWatch


class Moody:
    """A store of which only moods are known."""

    def __init__(self) -> None:
        self.pings = self.writes = 0
        self.opened = False
        self.silent: Exception | None = None
        self.full: Exception | None = None

    async def open(self) -> None:
        self.opened = True
        if self.silent is not None:
            raise self.silent

    async def ping(self) -> None:
        self.pings += 1
        if self.silent is not None:
            raise self.silent

    async def hold(self, name: str, owner: str, *, lease: float) -> int:
        self.writes += 1
        if self.full is not None:
            raise self.full
        return 1


def unavailable(cause: str) -> StoreUnavailable:
    error = StoreUnavailable()
    error.__cause__ = OSError(cause)
    return error


@pytest.fixture
def store() -> Moody:
    return Moody()


@pytest.fixture
def watched(store: Moody, monkeypatch: pytest.MonkeyPatch) -> tuple[StoreWatch, list[dict[str, Any]]]:
    """The watch, and what it logs."""
    told: list[dict[str, Any]] = []

    class Log:
        def warning(self, event: str, **more: Any) -> None:
            told.append(more)

    monkeypatch.setattr(watch, "log", Log())
    return StoreWatch(store, Metrics("1")), told  # type: ignore[arg-type]


Watched = tuple[StoreWatch, list[dict[str, Any]]]
LOOKS = watch.WRITE_EVERY


async def looks(watched: Watched, count: int = LOOKS) -> None:
    for _ in range(count):
        await watched[0]._look()


async def test_a_healthy_store_is_pinged_and_now_and_then_written(watched: Watched, store: Moody) -> None:
    await looks(watched, 10)
    assert watched[0].up and (store.pings, store.writes) == (10, 10 // LOOKS) and watched[1] == []
    watched[0].require()


@pytest.mark.parametrize("how", ["silent", "full"])
async def test_one_that_fails_is_down_until_it_takes_writes_again(
    how: str, watched: Watched, store: Moody
) -> None:
    setattr(store, how, unavailable("disk full"))
    await looks(watched)
    assert not watched[0].up
    with pytest.raises(StoreUnavailable):
        watched[0].require()
    setattr(store, how, None)
    await looks(watched, 1)
    assert watched[0].up and [each["up"] for each in watched[1]] == [False, True]
    assert watched[1][0]["reason"] == "disk full"


async def test_while_it_is_down_every_look_is_a_write(watched: Watched, store: Moody) -> None:
    store.full = unavailable("disk full")
    await looks(watched)
    writes = store.writes
    await looks(watched, 5)
    assert store.writes == writes + 5


async def test_each_reason_is_told_once_per_outage(watched: Watched, store: Moody) -> None:
    for cause in ("refused", "unfit", "refused", "unfit"):
        store.silent = unavailable(cause)
        await looks(watched, 1)
    store.silent = None
    await looks(watched, 1)
    store.silent = unavailable("refused")
    await looks(watched, 1)
    assert [each.get("reason") for each in watched[1]] == ["refused", "unfit", None, "refused"]


async def test_a_store_that_is_down_at_start_is_waited_for(watched: Watched, store: Moody) -> None:
    store.silent = StoreUnavailable("cannot reach it")
    await watched[0].open()
    assert store.opened and not watched[0].up and watched[1][0]["reason"] == "cannot reach it"


async def test_one_that_must_not_be_used_is_not(watched: Watched, store: Moody) -> None:
    store.silent = StoreUnfit("it may lose payments")
    with pytest.raises(StoreUnfit):
        await watched[0].open()

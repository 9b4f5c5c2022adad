"""Both stores, real, as every test of the contract gets them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from kit.redis_server import RedisServer
from kit.store_time import Clock, RedisClock, SqliteClock
from kit.stores import HERE

from gateway.store import Store
from gateway.store.connect import open_store

OpenStore = Callable[..., Awaitable[Store]]
"""Another opened instance on the same data; keyword arguments change the limits."""

LIMITS = {
    "replay_window": 60.0,
    "redeem_window": 30.0,
    "released": 20.0,
    "max_answer": 1000,
    "max_answers": 3000,
}


@pytest.fixture(scope="session")
def shared_redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture(params=["sqlite", "redis"])
def store_url(request: pytest.FixtureRequest) -> str:
    if request.param == "sqlite":
        return "embedded"
    server: RedisServer = request.getfixturevalue("shared_redis")
    server.command("FLUSHALL")
    return server.url


@pytest.fixture
async def open_another(store_url: str, tmp_path: Path) -> AsyncIterator[OpenStore]:
    async with AsyncExitStack() as stack:

        async def another(**changes: float) -> Store:
            store = open_store(store_url, tmp_path / "data", **(LIMITS | changes))  # type: ignore[arg-type]
            await store.open()
            await store.arrive(HERE)
            stack.push_async_callback(store.close)
            return store

        yield another


@pytest.fixture
async def store(open_another: OpenStore) -> Store:
    return await open_another()


@pytest.fixture
def clock(store: Store, store_url: str, tmp_path: Path, request: pytest.FixtureRequest) -> Clock:
    """Moves what ``store`` recorded into the past."""
    if store_url == "embedded":
        return SqliteClock(tmp_path / "data")
    return RedisClock(request.getfixturevalue("shared_redis"))

"""Replicas and sentinels, all of them real processes: what is acknowledged survives its primary."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack

import pytest
from kit.redis_server import RedisServer
from kit.stores import HERE, claimed, make_claim, settle, step

from gateway.errors import StoreUnavailable
from gateway.payment import State
from gateway.store import Store
from gateway.store.connect import open_store

IN_TIME = 1.0
"""What every call must stay under: the deadline of 0.9 s and a little for the event loop."""
PATIENCE = 15.0
"""Seconds a failover may take on a busy machine; it takes about two."""
SENTINEL = """sentinel monitor pay 127.0.0.1 {port} 1
sentinel down-after-milliseconds pay 400
sentinel failover-timeout pay 3000"""

Open = Callable[..., Awaitable[Store]]


@pytest.fixture
async def opening() -> AsyncIterator[Open]:
    async with AsyncExitStack() as stack:

        async def opened(url: str, wait_replicas: int = 1) -> Store:
            store = open_store(url, "", 60, 1000, 10**6, wait_replicas=wait_replicas)
            stack.push_async_callback(store.close)
            await store.open()
            return store

        yield opened


@pytest.fixture
def primary() -> Iterator[RedisServer]:
    with RedisServer("--repl-diskless-sync-delay", "0", tcp=True) as server:
        yield server


def replica_of(port: int) -> RedisServer:
    return RedisServer("--replicaof", "127.0.0.1", str(port), "--repl-diskless-sync-delay", "0", tcp=True)


async def until_written(store: Store) -> None:
    """Until a write is acknowledged."""
    ends = time.monotonic() + PATIENCE
    while True:
        try:
            return await store.arrive(HERE)
        except StoreUnavailable:
            assert time.monotonic() < ends
            await asyncio.sleep(0.05)


async def refused(call: Awaitable[object]) -> StoreUnavailable:
    started = time.monotonic()
    with pytest.raises(StoreUnavailable) as caught:
        await call
    assert time.monotonic() - started < IN_TIME
    return caught.value


async def test_without_its_replica_no_write_is_acknowledged(primary: RedisServer, opening: Open) -> None:
    """It may have happened all the same; reading goes on, and so does everything once there is one."""
    store = await opening(primary.url)
    claim = make_claim()
    error = await refused(store.reserve(claim, by=HERE.name, lease=10, max_attempts=5))
    assert "0 of 1 replicas" in str(error.__cause__) and "replica" not in str(error)
    await asyncio.gather(*(refused(claimed(store, make_claim())) for _ in range(50)))
    await asyncio.gather(refused(store.remember("n", b"v", seconds=9)), refused(store.forget("m")))
    assert await store.recall(["n"]) == [b"v"]
    assert (await store.states([claim.id])) == {claim.id: State.RESERVED}
    with replica_of(primary.port):
        await until_written(store)
        await settle(store, make_claim())


async def test_a_replica_that_hangs_is_not_waited_for(primary: RedisServer, opening: Open) -> None:
    with replica_of(primary.port) as replica:
        store = await opening(primary.url)
        await until_written(store)
        replica.pause()
        for _ in range(3):
            await asyncio.gather(*(refused(claimed(store, make_claim())) for _ in range(20)))
        await store.ping()
        replica.resume()
        await until_written(store)
        await claimed(store, make_claim())


async def test_two_are_not_one(primary: RedisServer, opening: Open) -> None:
    store, stricter = await opening(primary.url), await opening(primary.url, 2)
    with replica_of(primary.port):
        await until_written(store)
        await refused(stricter.arrive(HERE))


async def test_what_is_acknowledged_is_on_the_replica(primary: RedisServer, opening: Open) -> None:
    """Hundreds share one wait; what is refused for another reason says so."""
    with replica_of(primary.port) as replica:
        store = await opening(primary.url)
        await until_written(store)
        claims = [make_claim() for _ in range(200)]
        for claim in claims[:5]:
            await claimed(store, claim)
            assert replica.command("EXISTS", f"tollway:payment:{claim.id}") == b":1\r\n"
        await asyncio.gather(*(settle(store, claim) for claim in claims[5:]))
        found = await store.states([claim.id for claim in claims[5:]])
        assert list(found.values()) == [State.SETTLED] * 195
        primary.command("SCRIPT", "FLUSH")
        await claimed(store, make_claim())
        primary.command("CONFIG", "SET", "maxmemory", "1")
        error = await refused(claimed(store, make_claim()))
        assert "OOM" in str(error.__cause__)


async def test_a_failover_loses_nothing_acknowledged(primary: RedisServer, opening: Open) -> None:
    """kill -9 of the primary under load: the sentinels promote the replica, the store follows."""
    acknowledged: list[str] = []
    with replica_of(primary.port) as replica:
        direct = await opening(primary.url)
        await until_written(direct)
        with RedisServer(durable=False, sentinel=SENTINEL.format(port=primary.port)) as sentinel:
            store = await opening(f"redis+sentinel://127.0.0.1:{sentinel.port}/pay/0")
            await until_known(sentinel, replica)
            payers = [asyncio.create_task(pay(store, acknowledged)) for _ in range(20)]
            await asyncio.sleep(0.5)
            primary.kill()
            await asyncio.gather(*payers)
            assert len(acknowledged) > 50
            await until_answered(store)
            assert await store.states(acknowledged) == dict.fromkeys(acknowledged, State.SERVED)
            await refused(claimed(store, make_claim()))
            with replica_of(replica.port):
                await until_written(store)
                await settle(store, make_claim())


async def pay(store: Store, acknowledged: list[str]) -> None:
    """Until the store is gone."""
    try:
        while True:
            claim = make_claim()
            mine = await claimed(store, claim)
            assert await store.advance(mine.lease, step(State.SERVED, queued=True))
            acknowledged.append(claim.id)
    except StoreUnavailable:
        return


async def until_known(sentinel: RedisServer, replica: RedisServer) -> None:
    """Sentinels learn of replicas from their primary."""
    ends = time.monotonic() + PATIENCE
    while str(replica.port).encode() not in sentinel.command("SENTINEL", "replicas", "pay"):
        assert time.monotonic() < ends
        await asyncio.sleep(0.05)


async def until_answered(store: Store) -> None:
    ends = time.monotonic() + PATIENCE
    while True:
        try:
            return await store.ping()
        except StoreUnavailable:
            assert time.monotonic() < ends
            await asyncio.sleep(0.05)

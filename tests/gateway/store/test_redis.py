"""What only Redis has to hold: the connection, restarts, refusals, and servers unfit for money."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from typing import TypeVar

import pytest
from kit.redis_server import RedisServer
from kit.stores import HERE, claimed, make_claim, settle, step

from gateway.errors import StoreUnavailable, StoreUnfit
from gateway.payment import Moment, State
from gateway.store import Store
from gateway.store.connect import open_store

T = TypeVar("T")
PATIENCE = 1.0
"""What every call must stay under: the deadline of 0.9 s and a little for the event loop."""

Open = Callable[..., Awaitable[Store]]


@pytest.fixture
async def opening() -> AsyncIterator[Open]:
    async with AsyncExitStack() as stack:

        async def opened(url: str, durability: str = "strict") -> Store:
            store = open_store(url, "", 60, 1000, 3000, durability)  # type: ignore[arg-type]
            stack.push_async_callback(store.close)
            await store.open()
            return store

        yield opened


@pytest.fixture
def server() -> Iterator[RedisServer]:
    # With `everysec` a slow disk makes Redis hold back what it has acknowledged, for up to two seconds.
    with RedisServer("--appendfsync", "always") as running:
        yield running


@pytest.fixture
async def store(server: RedisServer, opening: Open) -> Store:
    return await opening(server.url)


async def in_time(call: Awaitable[T]) -> None:
    started = time.monotonic()
    with pytest.raises(StoreUnavailable):
        await call
    assert time.monotonic() - started < PATIENCE


async def recovered(store: Store) -> None:
    until = time.monotonic() + 5
    while True:
        try:
            return await store.ping()
        except StoreUnavailable:
            assert time.monotonic() < until
            await asyncio.sleep(0.02)


async def test_killed_and_started_again(server: RedisServer, store: Store) -> None:
    """kill -9 right after the acknowledgement loses nothing, and nobody restarts the gateway."""
    claims = [make_claim() for _ in range(50)]
    await asyncio.gather(*(settle(store, claim, answer=b"a", note=b"n") for claim in claims))
    await store.remember("fact", b"f", seconds=60)
    await store.remember("forgotten", b"f", seconds=60)
    await store.forget("forgotten")
    server.kill()
    for _ in range(3):
        await in_time(store.reserve(make_claim(), by=HERE.name, lease=1, max_attempts=1))
    await in_time(store.ping())
    server.start()
    await recovered(store)
    for claim in claims:
        payment = await store.find(claim.id)
        assert payment is not None and (payment.state, payment.note) == (State.SETTLED, b"n")
        assert await store.answer(claim.id) == b"a"
    assert await store.recall(["fact", "forgotten"]) == [b"f", None]
    await claimed(store, make_claim())


async def test_killed_at_random_under_load(server: RedisServer, store: Store) -> None:
    acknowledged: list[str] = []

    async def pay() -> None:
        while True:
            claim = make_claim()
            await settle(store, claim)
            acknowledged.append(claim.id)

    payers = [asyncio.create_task(pay()) for _ in range(20)]
    await asyncio.sleep(0.3)
    server.kill()
    outcomes = await asyncio.gather(*payers, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {StoreUnavailable}
    server.start()
    await recovered(store)
    found = await store.states(acknowledged)
    assert len(acknowledged) > 50 and found == dict.fromkeys(acknowledged, State.SETTLED)


async def test_paused(server: RedisServer, store: Store) -> None:
    """Late replies, when they come, are nobody's."""
    server.pause()
    await asyncio.gather(*(in_time(claimed(store, make_claim())) for _ in range(200)))
    await in_time(store.ping())
    server.resume()
    await recovered(store)
    claim = make_claim()
    await claimed(store, claim)
    assert await store.states([claim.id]) == {claim.id: State.RESERVED}


async def test_a_slow_command_of_ours_is_given_up(server: RedisServer, store: Store) -> None:
    stalled = asyncio.create_task(asyncio.to_thread(server.command, "DEBUG", "SLEEP", "1.5"))
    await asyncio.sleep(0.05)
    await asyncio.gather(in_time(store.ping()), in_time(store.find("pay_x")))
    await stalled
    await recovered(store)


async def test_a_caller_who_left_mixes_nothing_up(store: Store) -> None:
    claims = [make_claim(amount=n) for n in range(60)]
    tasks = [asyncio.create_task(claimed(store, claim)) for claim in claims]
    await asyncio.sleep(0)
    for task in tasks[::3]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for claim in claims:
        payment = await store.find(claim.id)
        assert payment is None or payment.amount == claim.amount


async def test_scripts_forgotten_by_the_server_are_brought_again(server: RedisServer, store: Store) -> None:
    server.command("SCRIPT", "FLUSH")
    await asyncio.gather(*(claimed(store, make_claim()) for _ in range(20)))


async def test_out_of_memory(server: RedisServer, store: Store) -> None:
    """New claims are refused whole; what is under way can still be brought to its end."""
    claim, refused = make_claim(purse="p"), make_claim(purse="p")
    await store.arrive(HERE)
    mine = await claimed(store, claim)
    server.command("CONFIG", "SET", "maxmemory", "1")
    await in_time(claimed(store, refused))
    assert await store.advance(mine.lease, step(State.SERVED, answer=b"a", queued=True))
    assert await store.beat(HERE.name)
    await store.mark(left=[claim.id])
    await store.mark(delivered=[claim.id])
    server.command("CONFIG", "SET", "maxmemory", "0")
    assert [payment.id for payment in await store.in_flight("p")] == [claim.id]
    assert await store.find(refused.id) is None
    await claimed(store, refused)


async def test_out_of_memory_can_still_forget(server: RedisServer, store: Store) -> None:
    claim = make_claim()
    await settle(store, claim, answer=bytes(1000), forget_at=int((time.time() + 0.2) * 1000))
    server.command("CONFIG", "SET", "maxmemory", "1")
    await asyncio.sleep(1.5)
    assert b"tollway" not in server.command("KEYS", "tollway:payment:*")
    assert server.command("GET", "tollway:answer-bytes") == b"$1\r\n0\r\n"


async def test_nothing_is_left_of_forgotten_payments(server: RedisServer, store: Store) -> None:
    for n in range(5):
        claim = make_claim(route=f"r{n}", purse="p")
        await settle(store, claim, answer=b"a", forget_at=int((time.time() + 0.1) * 1000))
        dropped = make_claim(route=f"r{n}", moment=Moment.DEFERRED, exposure=5, idempotency_key="k")
        assert await store.drop((await claimed(store, dropped)).lease)
    await store.bury(HERE.name)
    await asyncio.sleep(1.3)
    assert server.command("KEYS", "*") == b"*1\r\n$20\r\ntollway:answer-bytes\r\n"


async def test_a_failover_made_it_a_replica(server: RedisServer, store: Store) -> None:
    server.command("REPLICAOF", "127.0.0.1", "1")
    await in_time(claimed(store, make_claim()))
    await in_time(store.ping())
    server.command("REPLICAOF", "NO", "ONE")
    await recovered(store)
    await claimed(store, make_claim())


async def test_unfit_after_a_restart_is_refused(server: RedisServer, store: Store) -> None:
    server.command("CONFIG", "SET", "appendonly", "no")
    server.command("CLIENT", "KILL", "TYPE", "normal")
    await asyncio.sleep(0.3)
    with pytest.raises(StoreUnavailable) as caught:
        await store.ping()
    assert isinstance(caught.value.__cause__, StoreUnfit)
    server.command("CONFIG", "SET", "appendonly", "yes")
    await recovered(store)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--maxmemory-policy", "noeviction"), "appendonly yes"),
        (("--appendonly", "yes", "--maxmemory-policy", "allkeys-lru"), "noeviction"),
        (("--appendonly", "yes", "--maxmemory-policy", "volatile-ttl"), "noeviction"),
    ],
)
async def test_no_money_store(opening: Open, arguments: tuple[str, ...], says: str) -> None:
    with RedisServer(*arguments, durable=False) as unfit:
        with pytest.raises(StoreUnfit, match=says):
            await opening(unfit.url)
        await claimed(await opening(unfit.url, "accept_loss"), make_claim())


async def test_a_replica_is_refused(opening: Open) -> None:
    with RedisServer("--replicaof", "127.0.0.1", "1") as replica, pytest.raises(StoreUnfit, match="replica"):
        await opening(replica.url)


async def test_evicted_records_do_not_break_what_named_them(opening: Open) -> None:
    """With accept_loss anything may vanish; the rest must go on."""
    with RedisServer(durable=False) as server:
        store = await opening(server.url, "accept_loss")
        kept = make_claim(purse="p", queue="q", route="r")
        soon = int((time.time() + 0.5) * 1000)
        for n in range(6):
            claim = make_claim(purse="p", queue="q", route="r")
            mine = await claimed(store, claim)
            if n % 2:
                assert await store.advance(mine.lease, step(State.SERVED, answer=bytes(900), queued=True))
            else:
                settled = step(State.SETTLED, since=frozenset(State), answer=bytes(900), forget_at=soon)
                assert await store.advance(mine.lease, settled)
            server.command("DEL", f"tollway:payment:{claim.id}")
        assert (await claimed(store, kept)).in_flight == 0
        assert [payment.id for payment in await store.in_flight("p")] == [kept.id]
        assert await store.due("q", by=HERE.name, limit=9, lease=1) == []
        for state, route in ((None, None), (State.SETTLED, None), (None, "r")):
            listed, _ = await store.listing(state=state, route=route, limit=9, cursor=None)
            assert {payment.id for payment in listed} <= {kept.id}
        for _ in range(4):
            await settle(store, make_claim(), answer=bytes(900))
        await asyncio.sleep(1.5)
        assert server.command("ZCARD", "tollway:expiry") == b":0\r\n"


async def test_a_password_never_shows(opening: Open) -> None:
    with RedisServer("--requirepass", "s3cret", tcp=True) as server:
        place = server.url.removeprefix("redis://")
        await claimed(await opening(f"redis://:s3cret@{place}"), make_claim())
        await claimed(await opening(f"redis://default:s3cret@{place}"), make_claim())
        for url, says in (
            (f"redis://{place}", "NOAUTH"),
            (f"redis://:canary@{place}", "WRONGPASS"),
            (f"redis://canary:canary@{place}", "WRONGPASS"),
        ):
            with pytest.raises(StoreUnavailable, match=says) as caught:
                await opening(url)
            assert "canary" not in f"{caught.value!r} {caught.value} {caught.value.detail}"


async def test_other_databases_are_other_stores(opening: Open) -> None:
    with RedisServer(tcp=True) as server:
        zero = await opening(server.url)
        three = await opening(server.url.removesuffix("/0") + "/3")
        claim = make_claim()
        await claimed(zero, claim)
        assert await three.find(claim.id) is None
        await claimed(three, claim)


async def test_nobody_listens_there_yet(opening: Open, server: RedisServer) -> None:
    """Opening says so, and goes on trying in the background."""
    server.kill()
    store = open_store(server.url, "", 60, 1000, 3000)
    with pytest.raises(StoreUnavailable, match="cannot reach Redis"):
        await store.open()
    await in_time(store.ping())
    server.start()
    await recovered(store)
    await store.close()


async def test_something_else_listens_there() -> None:
    """A server that talks, but not Redis' language, or not at all."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    talker = await asyncio.start_server(serve, "127.0.0.1", 0)
    silent = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    for server in (talker, silent):
        store = open_store(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}", "", 60, 1000, 3000)
        await in_time(store.open())
        await in_time(store.ping())
        await store.close()
        server.close()


async def test_sentinels_know_the_primary(opening: Open) -> None:
    with RedisServer(tcp=True) as primary:
        config = f"sentinel monitor pay 127.0.0.1 {primary.port} 1"
        with RedisServer(durable=False, sentinel=config) as sentinel:
            places = f"127.0.0.1:1,127.0.0.1:{sentinel.port}"
            store = await opening(f"redis+sentinel://{places}/pay/0")
            await claimed(store, make_claim())
            with pytest.raises(StoreUnavailable, match="knows no service 'other'"):
                await opening(f"redis+sentinel://{places}/other")


async def test_hundreds_at_once_on_one_connection(store: Store) -> None:
    claims = [make_claim(amount=n) for n in range(500)]
    await asyncio.gather(*(settle(store, claim, answer=b"%d" % claim.amount) for claim in claims))
    for claim in claims:
        assert await store.answer(claim.id) == b"%d" % claim.amount


async def test_a_record_of_the_version_before_keeps_its_end(server: RedisServer, store: Store) -> None:
    """It noted that it had one, not which."""
    await store.arrive(HERE)
    claim = make_claim()
    await settle(store, claim, answer=b"a", forget_at=4_000_000_000_000)
    key = f"tollway:payment:{claim.id}"
    older = "local p = cmsgpack.unpack(redis.call('GET', KEYS[1])) p.scheduled = true "
    server.command("EVAL", older + "redis.call('SET', KEYS[1], cmsgpack.pack(p))", "1", key)
    await store.mark(delivered=[claim.id])
    assert b"4000000000000" in server.command("ZSCORE", "tollway:expiry", claim.id)
    assert await store.find(claim.id) is not None

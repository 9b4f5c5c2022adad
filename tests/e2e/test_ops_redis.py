"""Redis fails in every way it can while the gateway runs: paid routes say so, free ones do not notice."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from kit.answers import Answer, request
from kit.anvil import Anvil
from kit.deployment import PRICE, Deployment, deployed
from kit.ops import assert_problem, eventually, metric, ready, records, tracebacks
from kit.redis_server import RedisServer

from gateway.devchain.children import ChildFailed

FundedAccount = Callable[..., Any]


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    """One that this test may ruin."""
    with RedisServer(tcp=True) as server:
        yield server


@pytest.fixture
def shop(anvil: Anvil, redis: RedisServer, tmp_path: Path) -> Iterator[Deployment]:
    """A gateway on it."""
    with deployed(anvil, tmp_path, store={"url": redis.url}) as deployment:
        yield deployment
    assert not tracebacks(deployment.gateway.logs())


def stopped(redis: RedisServer) -> None:
    redis.kill()


def started_again(redis: RedisServer) -> None:
    redis.start()


def paused(redis: RedisServer) -> None:
    redis.pause()


def resumed(redis: RedisServer) -> None:
    redis.resume()


def a_replica(redis: RedisServer) -> None:
    redis.command("REPLICAOF", "127.0.0.1", "9")


def the_primary_again(redis: RedisServer) -> None:
    redis.command("REPLICAOF", "NO", "ONE")


def out_of_memory(redis: RedisServer) -> None:
    redis.command("CONFIG", "SET", "maxmemory", "1")


def enough_memory(redis: RedisServer) -> None:
    redis.command("CONFIG", "SET", "maxmemory", "0")


OUTAGES = {
    "stopped": (stopped, started_again),
    "paused": (paused, resumed),
    "a read-only replica": (a_replica, the_primary_again),
    "out of memory": (out_of_memory, enough_memory),
}


@pytest.mark.parametrize("outage", OUTAGES)
def test_paid_routes_are_503_free_ones_fine_and_both_when_redis_is_back(
    outage: str, shop: Deployment, redis: RedisServer, funded_account: FundedAccount
) -> None:
    fail, mend = OUTAGES[outage]
    payment = shop.sign("/v1/x", funded_account())
    fail(redis)

    unavailable(shop, payment.headers)
    assert request(shop.url + "/free/x").status == 200
    eventually(lambda: request(shop.url + "/v1/x").status == 503)
    for number in range(5):
        # In words of its own: what was asked in the same ones is answered alike for a tenth of a second.
        unavailable(shop, {"X-Number": str(number)})
        unavailable(shop, payment.headers)
        assert request(shop.url + "/free/x").status == 200
    assert shop.upstream.count("/v1/x") == 0
    assert metric(shop.gateway, "tollway_store_up") == 0
    down = request(shop.gateway.admin + "/readyz?strict=1")
    assert (down.status, down.json()["dependencies"]["store"]) == (503, "down")
    assert request(shop.gateway.admin + "/readyz").status == 200
    assert_store_503(request(shop.gateway.admin + "/payments"), outage)

    mend(redis)
    eventually(lambda: ready(shop.gateway))
    # A claim a paused Redis had taken in may have happened after all: it lapses with its lease.
    eventually(lambda: request(shop.url + "/v1/x", headers=payment.headers).status == 200)
    assert shop.earned() == PRICE and metric(shop.gateway, "tollway_store_up") == 1
    told = records(shop.gateway, "store")
    assert [each["up"] for each in told][-1] is True and all(each["reason"] for each in told[:-1])


def unavailable(shop: Deployment, headers: dict[str, str]) -> Answer:
    """503 at once, with the header that says when to come again."""
    asked = time.monotonic()
    refused = request(shop.url + "/v1/x", headers=headers)
    assert time.monotonic() - asked < 1.2
    assert_problem(refused, 503, "store_unavailable")
    assert int(refused.headers["retry-after"]) >= 1
    return refused


def assert_store_503(answer: Answer, outage: str) -> None:
    """The ledger can be read while Redis only refuses writes."""
    if outage in ("stopped", "paused"):
        assert (answer.status, answer.json()["code"]) == (503, "store_unavailable")


def test_a_gateway_starts_without_its_redis_and_goes_on_when_it_comes(
    anvil: Anvil, redis: RedisServer, tmp_path: Path, funded_account: FundedAccount
) -> None:
    redis.kill()
    with deployed(anvil, tmp_path, store={"url": redis.url}) as shop:
        unavailable(shop, {})
        assert request(shop.url + "/free/x").status == 200
        assert request(shop.gateway.admin + "/livez").status == 200
        assert not ready(shop.gateway)
        redis.start()
        eventually(lambda: ready(shop.gateway))
        assert shop.buy("/v1/x", funded_account()).status == 200


def test_a_redis_that_became_unfit_is_not_used_again_and_the_log_says_why(
    shop: Deployment, redis: RedisServer
) -> None:
    redis.command("CONFIG", "SET", "appendonly", "no")
    redis.command("CLIENT", "KILL", "TYPE", "normal")
    eventually(lambda: request(shop.url + "/v1/x").status == 503)
    told = eventually(lambda: [each for each in records(shop.gateway, "store") if "appendonly" in str(each)])
    assert told[-1]["up"] is False


UNFIT = {
    "no append-only file": (("--appendonly", "no", "--maxmemory-policy", "noeviction"), "appendonly yes"),
    "evicts": (("--appendonly", "yes", "--maxmemory-policy", "allkeys-lru"), "maxmemory-policy noeviction"),
}


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("fault", UNFIT)
def test_a_redis_that_may_lose_money_is_refused_at_start(
    fault: str, workers: int, anvil: Anvil, tmp_path: Path
) -> None:
    arguments, advice = UNFIT[fault]
    with ExitStack() as stack:
        redis = stack.enter_context(RedisServer(*arguments, durable=False))
        store, server = {"url": redis.url}, {"workers": workers}
        with pytest.raises(ChildFailed) as failed:
            stack.enter_context(deployed(anvil, tmp_path, store=store, server=server))
    assert failed.value.code == 4
    said = {line for line in failed.value.output.splitlines() if not line.startswith("{")}
    assert len(said) == 1 and advice in said.pop() and not tracebacks(failed.value.output)


@pytest.mark.parametrize("fault", UNFIT)
def test_unless_the_operator_accepts_the_loss(
    fault: str, anvil: Anvil, tmp_path: Path, funded_account: FundedAccount
) -> None:
    with RedisServer(*UNFIT[fault][0], durable=False) as redis:
        store = {"url": redis.url, "durability": "accept_loss"}
        with deployed(anvil, tmp_path, store=store) as shop:
            assert shop.buy("/v1/x", funded_account()).status == 200

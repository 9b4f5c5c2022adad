"""Ten thousand at once: what a payment, a stranger and an empty wallet can make a gateway do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from kit.accounts import new_account
from kit.answers import request
from kit.anvil import Anvil
from kit.deployment import PRICE, deployed
from kit.faultproxy import FaultProxy
from kit.flood import flood
from kit.ops import ledger
from kit.payments import sign_payment
from kit.redis_server import RedisServer

FundedAccount = Callable[..., Any]
MANY = 10_000
PATH = "/v1/x"


@pytest.fixture
def store() -> Iterator[RedisServer]:
    """Nobody else's."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def proxy(anvil: Anvil) -> Iterator[FaultProxy]:
    with FaultProxy(anvil.url) as between:
        yield between


def test_one_payment_sent_ten_thousand_times_to_four_workers(
    anvil: Anvil, store: RedisServer, tmp_path: Path, funded_account: FundedAccount
) -> None:
    with deployed(anvil, tmp_path, server={"workers": 4}, store={"url": store.url}) as shop:
        # A sender that has yet to start would have to do so in the middle of the flood.
        assert (
            request(shop.url + "/v1/first", headers=shop.sign("/v1/first", funded_account()).headers).status
            == 200
        )
        before = shop.earned()
        payment = shop.sign(PATH, funded_account()).headers
        seen = flood(shop.url + PATH, [payment] * MANY, connections=200)
        assert seen[200, ""] == 1, seen
        assert set(seen) <= {(200, ""), (409, "payment_in_progress"), (409, "payment_used")}
        assert sum(seen.values()) == MANY
        assert shop.upstream.count(PATH) == 1 and shop.earned() - before == PRICE


def test_ten_thousand_forged_signatures_cost_no_work_elsewhere(
    anvil: Anvil, proxy: FaultProxy, store: RedisServer, tmp_path: Path
) -> None:
    """No call to the chain, no write to the store, nothing for the upstream."""
    networks = {"localdev": {"chain_id": 84532, "v1_name": "base-sepolia", "rpc": proxy.url}}
    with deployed(anvil, tmp_path, networks=networks, store={"url": store.url}) as shop:
        payment = shop.sign(PATH, new_account())
        forged = []
        for number in range(MANY):
            payment.signature = "0x" + f"{number + 1:064x}" + f"{number + 7:064x}" + "1b"
            forged.append(payment.headers)
        before = writes(store), verifications(proxy)

        seen = flood(shop.url + PATH, forged)

        assert {status for status, _ in seen} == {402} and sum(seen.values()) == MANY
        assert verifications(proxy) == before[1]
        assert writes(store) - before[0] < 100, "the gateway's own signs of life"
        assert ledger(shop.gateway) == [] and shop.upstream.count() == 0


def test_good_signatures_of_empty_wallets_leave_nothing_behind(
    anvil: Anvil, store: RedisServer, tmp_path: Path
) -> None:
    with deployed(anvil, tmp_path, store={"url": store.url}) as shop:
        offer = request(shop.url + PATH).challenge["accepts"][0]
        wallets = [new_account() for _ in range(10)]
        good = [sign_payment(wallets[number % 10].key, offer).headers for number in range(300)]
        flood(shop.url + PATH, good[:50], connections=20)

        seen = flood(shop.url + PATH, good[50:], connections=20)

        assert {status for status, _ in seen} == {402}
        kept = {b"hold", b"instances", b"seen"}
        assert {key.split(b":")[1] for key in keys(store)} <= kept, "what a gateway without a sale keeps"
        assert shop.upstream.count() == 0


def writes(server: RedisServer) -> int:
    """Commands that changed something, or may have: every step is a script."""
    with redis.Redis.from_url(server.url) as client:
        return int(client.info("commandstats").get("cmdstat_evalsha", {}).get("calls", 0))


def keys(server: RedisServer) -> set[bytes]:
    with redis.Redis.from_url(server.url) as client:
        return set(client.keys("tollway:*"))


def verifications(proxy: FaultProxy) -> int:
    """Calls about a payment; the chain is looked at in the background, too."""
    return proxy.asked.count("eth_call")

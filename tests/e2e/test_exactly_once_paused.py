"""SIGSTOP beyond the lease, then SIGCONT: a process that slept has no second effect."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kit.answers import Answer, request
from kit.anvil import Anvil
from kit.deployment import PRICE, Deployment, deployed
from kit.gateway import Gateway, plain_config
from kit.ops import eventually, ledger
from kit.redis_server import RedisServer

FundedAccount = Callable[..., Any]
PATH = "/v1/x"
KEY = {"Idempotency-Key": "mine"}


@pytest.fixture
def pair(anvil: Anvil, redis_server: RedisServer, tmp_path: Path) -> Iterator[tuple[Deployment, Gateway]]:
    """Two gateways, one store, one key."""
    store = {"url": redis_server.url}
    (tmp_path / "second").mkdir()
    with deployed(anvil, tmp_path, store=store) as shop:
        config = plain_config(
            upstream=shop.upstream.url,
            rpc=anvil.url,
            pay_to=shop.pay_to,
            key=shop.sender.key,
            store=store,
            server={"public_url": shop.url},
        )
        with Gateway(config, folder=tmp_path / "second") as second:
            yield shop, second


@pytest.mark.parametrize("point", ["K2", "K5", "K6", "K9"])
def test_a_request_that_slept(
    point: str, pair: tuple[Deployment, Gateway], funded_account: FundedAccount
) -> None:
    shop, second = pair
    shop.gateway.stop()
    shop.gateway.start(TOLLWAY_CRASH=f"{point}:1:STOP")
    headers = {**shop.sign(PATH, funded_account()).headers, **KEY}
    first: list[Answer] = []
    asking = threading.Thread(
        target=lambda: first.append(request(shop.url + PATH, headers=headers, timeout=60))
    )
    asking.start()

    def elsewhere() -> Answer | None:
        answer = request(second.url + PATH, headers=headers)
        return None if answer.status in (409, 503) else answer

    answer = eventually(elsewhere, patience=40)
    shop.gateway.resume()
    asking.join()

    assert answer.status == 200
    eventually(lambda: [each["state"] for each in mine(second, shop)] == ["settled"])
    assert shop.earned() == PRICE
    assert first[0].status in (200, 409)
    if first[0].status == 200:
        assert first[0].body == answer.body
    again = {"K5": 2}.get(point, 1)
    assert shop.upstream.count(PATH) == again, "released by its death, so the retry asked once more"


def mine(gateway: Gateway, shop: Deployment) -> list[dict[str, Any]]:
    """The store is shared with other tests; the payee is not."""
    return [each for each in ledger(gateway, "?limit=500") if each["payer"] in shop_payers(shop)]


def shop_payers(shop: Deployment) -> set[str]:
    return {each.header("X-Tollway-Payer") or "" for each in shop.upstream.received}

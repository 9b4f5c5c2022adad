"""Other people's servers, on the official middlewares, use `tollway facilitator` as theirs and are paid."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kit.accounts import new_account
from kit.answers import Answer, request
from kit.anvil import Anvil
from kit.facilitator import FacilitatorServer
from kit.node_clients import buy_v2
from kit.payments import pay_challenge
from kit.python_clients import buy_httpx
from kit.shops import GOODS, PRICE, Shop, express_shop, fastapi_shop, flask_shop

FundedAccount = Callable[..., Any]
Buy = Callable[[str, str], Answer]
KEY = "sixteen-or-more-letters"
SHOPS: dict[str, tuple[Shop, Buy]] = {
    "fastapi": (fastapi_shop, lambda url, key: asyncio.run(buy_httpx(url, key))),
    "flask": (flask_shop, lambda url, key: asyncio.run(buy_httpx(url, key))),
    "express": (express_shop, buy_v2),
}


@pytest.fixture(scope="module")
def server(anvil: Anvil, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FacilitatorServer]:
    sender = new_account()
    anvil.rpc("anvil_setBalance", sender.address, hex(10**19))
    folder: Path = tmp_path_factory.mktemp("facilitator")
    with FacilitatorServer(folder, rpc=anvil.url, key=sender.key, facilitator={"keys": [KEY]}) as running:
        yield running
        assert "Traceback" not in running.logs()


@pytest.mark.parametrize("name", SHOPS)
def test_an_official_client_pays_an_official_server_through_us(
    name: str, server: FacilitatorServer, anvil: Anvil, funded_account: FundedAccount
) -> None:
    shop, buy = SHOPS[name]
    payer, payee = funded_account(10 * PRICE), new_account().address
    with shop(server.url, KEY, payee) as url:
        bought = buy(url, payer.key)

        assert (bought.status, bought.body) == (200, GOODS)
        assert bought.receipt is not None and bought.receipt["success"] is True
        assert anvil.balance(payee) == PRICE and anvil.balance(payer.address) == 9 * PRICE
        mined = anvil.rpc("eth_getTransactionReceipt", bought.transaction)
        assert mined["status"] == "0x1"

        poor = pay_challenge(funded_account(PRICE - 1).key, request(url))
        assert request(url, headers=poor.headers).status == 402
        assert anvil.balance(payee) == PRICE


def test_a_shop_without_the_key_is_not_served(server: FacilitatorServer) -> None:
    assert request(server.url + "/supported").status == 401
    assert request(server.url + "/health").status == 200

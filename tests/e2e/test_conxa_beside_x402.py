"""One offer, two ways to pay it: a wallet that is charged, or a signed transfer. A route may take one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kit.accounts import new_account
from kit.answers import Answer, request
from kit.anvil import Anvil
from kit.dialogue import Dialogue
from kit.ops import ledger
from kit.payments import SignedPayment, pay_challenge
from kit.python_clients import buy_requests
from kit.upstream_answers import ok_json
from kit.wallets import WalletShop, wallet_shop

FundedAccount = Callable[..., Any]
Sign = Callable[[str], SignedPayment]
BOTH, CHARGED, SIGNED = "/v1/both", "/v1/charged", "/v1/signed"
PRICE = 20_000
METER = {"model": "flat", "input_tokens": 100, "output_tokens": 0}
ROUTES = [
    {"match": f"* {BOTH}", "price": "$0.02", "accept": ["conxa", "x402"], "conxa": dict(METER)},
    {"match": f"* {CHARGED}", "price": "$0.02", "accept": ["conxa"], "conxa": dict(METER)},
    {"match": f"* {SIGNED}", "price": "$0.02", "accept": ["x402"]},
]
PAY_TO = new_account().address


@pytest.fixture(scope="module")
def shop(anvil: Anvil, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WalletShop]:
    sender = new_account()
    anvil.rpc("anvil_setBalance", sender.address, hex(10**19))
    x402 = {
        "pay_to": PAY_TO,
        "networks": ["localdev"],
        "facilitator": {"mode": "local", "key": sender.key},
    }
    chain = {"localdev": {"chain_id": 84532, "v1_name": "base-sepolia", "rpc": anvil.url}}
    folder = tmp_path_factory.mktemp("both")
    with wallet_shop(folder, routes=ROUTES, rails={"x402": x402}, networks=chain) as each:
        for path in (BOTH, CHARGED, SIGNED):
            each.upstream.on(path, ok_json({"of": path}))
        yield each
        assert "Traceback" not in each.gateway.logs()


def get(shop: WalletShop, path: str, *credentials: dict[str, str]) -> Answer:
    headers: dict[str, str] = {}
    for each in credentials:
        headers |= each
    return request(shop.url + path, headers=headers)


def wallet(connection: str) -> dict[str, str]:
    return {"X-Tollway-Connection": connection}


@pytest.fixture
def sign(shop: WalletShop, funded_account: FundedAccount) -> Sign:
    """Signs what a path asks for."""
    return lambda path: pay_challenge(funded_account().key, request(shop.url + path))


def test_one_offer_names_both_ways(shop: WalletShop) -> None:
    answer = get(shop, BOTH)
    body = answer.json()
    assert answer.status == 402 and body["x402Version"] == 1
    assert body["accepts"][0]["maxAmountRequired"] == str(PRICE)
    assert answer.challenge["accepts"][0]["amount"] == str(PRICE)
    assert body["rails"]["conxa"]["charge"]["input_tokens"] == 100


def test_a_wallet_takes_it(shop: WalletShop, anvil: Anvil) -> None:
    connection, owner = shop.connect(1_000)
    earned = anvil.balance(PAY_TO)
    answer = get(shop, BOTH, wallet(connection))
    assert (answer.status, answer.json()) == (200, {"of": BOTH})
    assert shop.conxa.balance(owner) == 900 and anvil.balance(PAY_TO) == earned
    assert answer.receipt is None and ledger(shop.gateway)[0]["rail"] == "conxa"


def test_an_official_x402_client_takes_it(
    shop: WalletShop, anvil: Anvil, funded_account: FundedAccount
) -> None:
    earned, charges = anvil.balance(PAY_TO), shop.called()
    answer = buy_requests(shop.url + BOTH, funded_account().key)
    assert (answer.status, answer.json()) == (200, {"of": BOTH})
    assert anvil.balance(PAY_TO) - earned == PRICE and shop.called() == charges
    assert answer.receipt and answer.receipt["success"] and "x-conxa-balance" not in answer.headers
    assert ledger(shop.gateway)[0]["rail"] == "x402"


def test_both_at_once_is_neither(shop: WalletShop, sign: Sign) -> None:
    connection, owner = shop.connect(1_000)
    before = shop.upstream.count()
    answer = get(shop, BOTH, wallet(connection), sign(BOTH).headers)
    assert (answer.status, answer.json()["code"]) == (400, "malformed_payment")
    assert shop.upstream.count() == before and shop.conxa.balance(owner) == 1_000


def test_a_route_that_takes_one_does_not_see_the_other(shop: WalletShop, sign: Sign) -> None:
    connection, owner = shop.connect(1_000)
    before = shop.upstream.count()

    charged, transfer = get(shop, CHARGED, sign(BOTH).headers), get(shop, SIGNED, wallet(connection))

    assert (charged.status, transfer.status) == (402, 402)
    assert charged.json()["accepts"] == [] and "payment-required" not in charged.headers
    assert list(charged.json()["rails"]) == ["conxa"]
    assert transfer.json()["rails"] == {} and transfer.challenge["accepts"]
    assert shop.upstream.count() == before and shop.conxa.balance(owner) == 1_000


def test_a_credential_that_is_not_looked_at_is_not_passed_on_either(shop: WalletShop, sign: Sign) -> None:
    connection, owner = shop.connect(1_000)
    payment = sign(SIGNED).headers
    assert get(shop, CHARGED, wallet(connection), payment).status == 200
    assert shop.conxa.balance(owner) == 900
    assert get(shop, SIGNED, wallet(connection), payment).status == 200
    assert shop.conxa.balance(owner) == 900
    for path in (CHARGED, SIGNED):
        raw = shop.upstream.last(path).raw
        assert connection.encode() not in raw and payment["PAYMENT-SIGNATURE"].encode() not in raw


def test_two_connections_are_not_one(shop: WalletShop) -> None:
    first, second = shop.connect(1_000), shop.connect(1_000)
    lines = "".join(f"X-Tollway-Connection: {each[0]}\r\n" for each in (first, second))
    with Dialogue(shop.url) as client:
        client.say(f"GET {BOTH} HTTP/1.1\r\nHost: gw.test\r\n{lines}\r\n".encode())
        assert client.head().status == 400
    assert [shop.conxa.balance(each[1]) for each in (first, second)] == [1_000, 1_000]

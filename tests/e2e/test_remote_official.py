"""Behind the official Python facilitator (x402 2.25), paid by official clients and by hand, v1 and v2."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kit.accounts import new_account
from kit.answers import request
from kit.anvil import Anvil
from kit.deployment import PRICE, Deployment
from kit.ops import ledger, metric, ready
from kit.python_clients import buy_httpx, buy_requests
from kit.remotely import deployed_remotely
from standins.official import OfficialFacilitator

FundedAccount = Callable[..., Any]


@pytest.fixture(scope="module")
def official(anvil: Anvil) -> Iterator[OfficialFacilitator]:
    payer_of_gas = new_account()
    anvil.rpc("anvil_setBalance", payer_of_gas.address, hex(10**19))
    with OfficialFacilitator(anvil.url, payer_of_gas.key) as there:
        yield there


@pytest.fixture(scope="module", params=["remote", "hybrid"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def shop(
    mode: str, anvil: Anvil, official: OfficialFacilitator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    with deployed_remotely(anvil, tmp_path_factory.mktemp("gateway"), official.url, mode=mode) as deployment:
        yield deployment
        assert "Traceback" not in deployment.gateway.logs()


@pytest.fixture(autouse=True)
def _anew(official: OfficialFacilitator) -> None:
    official.asked.clear()


async def test_official_clients_pay(shop: Deployment, funded_account: FundedAccount) -> None:
    before = shop.earned()
    answer = await buy_httpx(shop.url + "/v1/a", funded_account().key)
    again = buy_requests(shop.url + "/v1/b", funded_account().key, method="POST", body="x")
    for each in (answer, again):
        assert each.status == 200, each.body
        assert shop.anvil.rpc("eth_getTransactionReceipt", each.transaction)["status"] == "0x1"
    assert answer.transaction != again.transaction
    assert shop.earned() - before == 2 * PRICE


@pytest.mark.parametrize("version", [1, 2])
def test_either_version_is_settled_there_once(
    version: int, mode: str, shop: Deployment, official: OfficialFacilitator, funded_account: FundedAccount
) -> None:
    """Verified there on `remote`, here on `hybrid`; asked again with the same payment nothing moves."""
    before, worked = shop.earned(), shop.upstream.count()
    payment = shop.sign("/v1/c", payer := funded_account(), version)
    answer = request(shop.url + "/v1/c", headers=payment.headers)
    assert answer.status == 200, answer.body
    assert answer.receipt and answer.receipt["success"]
    assert answer.receipt["payer"] == payer.address.lower()
    assert answer.receipt["network"] == ("base-sepolia" if version == 1 else "eip155:84532")
    assert shop.anvil.rpc("eth_getTransactionReceipt", answer.transaction)["status"] == "0x1"
    asked = [each for each in official.asked if each != "/supported"]
    assert asked == (["/verify", "/settle"] if mode == "remote" else ["/settle"])

    assert request(shop.url + "/v1/c", headers=payment.headers).status == 409
    assert shop.earned() - before == PRICE
    assert shop.upstream.count() - worked == 1
    assert official.asked.count("/settle") == 1
    assert ledger(shop.gateway)[0]["transaction"] == answer.transaction


def test_a_refusal_reaches_the_client_in_the_specifications_words(
    shop: Deployment, official: OfficialFacilitator
) -> None:
    """The official facilitator calls it invalid_exact_evm_insufficient_balance."""
    before, worked = shop.earned(), shop.upstream.count()
    answer = request(shop.url + "/v1/d", headers=shop.sign("/v1/d", new_account()).headers)
    assert (answer.status, answer.challenge["error"]) == (402, "insufficient_funds")
    assert (shop.earned(), shop.upstream.count()) == (before, worked)
    assert "/settle" not in official.asked


def test_what_is_no_payment_causes_no_call(
    shop: Deployment, official: OfficialFacilitator, funded_account: FundedAccount
) -> None:
    forged = shop.sign("/v1/e", funded_account())
    forged.authorization["nonce"] = "0x" + "00" * 32
    assert request(shop.url + "/v1/e", headers=forged.headers).status == 402
    assert [each for each in official.asked if each != "/supported"] == []


def test_how_it_does_is_shown(shop: Deployment, official: OfficialFacilitator) -> None:
    assert ready(shop.gateway)
    assert metric(shop.gateway, "tollway_facilitator_up", url=official.url) == 1
    assert metric(shop.gateway, "tollway_facilitator_supported_age_seconds", url=official.url) < 60

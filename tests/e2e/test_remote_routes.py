"""Routes with receivers, networks and amounts of their own, each network with a facilitator of its own."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kit.accounts import new_account
from kit.answers import request
from kit.anvil import Anvil
from kit.deployment import PRICE, Deployment
from kit.gateway import Gateway
from kit.ops import ledger, metric, tollway
from kit.payments import HEADER, encoded, sign_payment
from kit.remotely import remote_config
from kit.upstream import Upstream
from standins.facilitator import FEE_PAYER, SOLANA, SUPPORTED, FacilitatorServer

FundedAccount = Callable[..., Any]
USDC = "4zMMC9srt5Ri5X14GAgXhaHii3GnPAEERYPJgZJDncDU"
PAYEE = "9xQeWvG816bUx9EPjHmaT23yvVM2ZWbrrpZb9PusVFin"
AUTHOR = new_account().address
ROUTES = [
    {"match": "* /v1/**", "price": "$0.01"},
    {
        "match": "* /author/**",
        "price": "$0.02",
        "x402": {"pay_to": {"localdev": AUTHOR}, "accepts": [{"network": "localdev", "price": "$0.03"}]},
    },
    {
        "match": "* /both/**",
        "price": "$0.01",
        "x402": {
            "accepts": [{"network": SOLANA, "price": "$0.005"}, {"network": "localdev", "price": "$0.01"}]
        },
    },
]


@pytest.fixture(scope="module")
def facilitators(anvil: Anvil) -> Iterator[tuple[FacilitatorServer, FacilitatorServer]]:
    """One for the chain, one for Solana."""
    with FacilitatorServer(anvil.url) as first, FacilitatorServer() as second:
        yield first, second


@pytest.fixture(scope="module")
def shop(
    anvil: Anvil,
    facilitators: tuple[FacilitatorServer, FacilitatorServer],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Deployment]:
    first, second = facilitators
    payee = new_account()
    with Upstream() as upstream:
        config = remote_config(
            upstream=upstream.url,
            rpc=anvil.url,
            pay_to={"localdev": payee.address, SOLANA: PAYEE},
            facilitator={"mode": "hybrid", "url": first.url},
            routes=ROUTES,
            networks={SOLANA: {"assets": {"USDC": {"address": USDC, "decimals": 6}}}},
        )
        config["rails"]["x402"]["facilitators"] = {SOLANA: {"mode": "remote", "url": second.url}}
        with Gateway(config, folder=tmp_path_factory.mktemp("gateway")) as gateway:
            yield Deployment(gateway, upstream, anvil, payee.address, payee)
            assert "Traceback" not in gateway.logs()


def offers(shop: Deployment, path: str) -> list[tuple[str, str, str]]:
    accepts = request(shop.url + path).challenge["accepts"]
    return [(each["network"], each["amount"], each["payTo"]) for each in accepts]


def test_each_route_asks_for_its_own(shop: Deployment) -> None:
    ours = shop.pay_to
    assert offers(shop, "/v1/a") == [("eip155:84532", "10000", ours), (SOLANA, "10000", PAYEE)]
    assert offers(shop, "/author/a") == [("eip155:84532", "30000", AUTHOR)]
    assert offers(shop, "/both/a") == [(SOLANA, "5000", PAYEE), ("eip155:84532", "10000", ours)]


@pytest.mark.parametrize("version", [1, 2])
def test_a_route_pays_its_author(
    version: int, shop: Deployment, anvil: Anvil, funded_account: FundedAccount
) -> None:
    before, ours = anvil.balance(AUTHOR), shop.earned()
    payment = shop.sign("/author/b", funded_account(), version)
    assert request(shop.url + "/author/b", headers=payment.headers).status == 200
    assert (anvil.balance(AUTHOR) - before, shop.earned()) == (3 * PRICE, ours)
    assert request(shop.url + "/v1/b", headers=payment.headers).status in (402, 409)


def test_a_cheaper_route_does_not_buy_a_dearer_one(shop: Deployment, funded_account: FundedAccount) -> None:
    """Our own terms of another route are not this route's."""
    worked, payer = shop.upstream.count(), funded_account()
    accepts = request(shop.url + "/v1/c").challenge["accepts"]
    payment = sign_payment(payer.key, accepts[0])
    answer = request(shop.url + "/author/c", headers=payment.headers)
    assert (answer.status, shop.upstream.count()) == (402, worked)


def test_one_route_is_paid_on_either_network(
    shop: Deployment,
    facilitators: tuple[FacilitatorServer, FacilitatorServer],
    funded_account: FundedAccount,
) -> None:
    """Each network's payments go to its own facilitator."""
    chain, solana = facilitators
    accepts = request(shop.url + "/both/d").challenge["accepts"]
    before, settled = shop.earned(), chain.count("/settle")
    assert accepts[0]["extra"] == {"feePayer": FEE_PAYER}
    signed = {"transaction": base64.b64encode(b"\x01" + os.urandom(96)).decode()}
    opaque = encoded({"x402Version": 2, "accepted": accepts[0], "payload": signed})
    answer = request(shop.url + "/both/d", headers={HEADER[2]: opaque})
    assert answer.status == 200 and answer.receipt and answer.receipt["network"] == SOLANA
    assert (solana.count("/settle"), chain.count("/settle")) == (1, settled)

    payment = sign_payment(funded_account().key, accepts[1])
    assert request(shop.url + "/both/d", headers=payment.headers).status == 200
    assert (solana.count("/settle"), chain.count("/settle")) == (1, settled + 1)
    assert shop.earned() - before == PRICE
    assert [each["network"] for each in ledger(shop.gateway)[:2]] == ["eip155:84532", SOLANA]
    assert metric(shop.gateway, "tollway_facilitator_up", url=solana.url) == 1


def test_check_online_asks_the_facilitators(
    shop: Deployment, facilitators: tuple[FacilitatorServer, FacilitatorServer]
) -> None:
    chain, solana = facilitators
    command = ("check", "-c", str(shop.gateway.config_file), "--online")
    assert tollway(*command).returncode == 0
    chain.down()
    solana.supported = {"kinds": [{"scheme": "exact", "network": "base-sepolia"}]}
    try:
        told = tollway(*command)
    finally:
        solana.supported = SUPPORTED
        chain.up()
    assert told.returncode != 0
    assert f"facilitator {chain.url}: /supported gives no list of payments" in told.stdout + told.stderr
    assert f"network {SOLANA}: no facilitator lists `exact` payments there" in told.stdout + told.stderr

"""Every client buys through the gateway, on every deployment: bytes, balance and receipt agree."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kit.answers import Answer, request
from kit.deployment import PRICE, Deployment
from kit.node_clients import buy_v1, buy_v2
from kit.python_clients import buy_httpx, buy_requests
from kit.upstream_answers import ok_bytes

# The real command, with both stores and one worker and two.
pytestmark = pytest.mark.usefixtures("executed")

FundedAccount = Callable[..., Any]
GOODS = bytes(range(256))


def python_httpx(url: str, key: str) -> Answer:
    return asyncio.run(buy_httpx(url, key))


CLIENTS: dict[str, Callable[[str, str], Answer]] = {
    "python-httpx": python_httpx,
    "python-requests": buy_requests,
    "npm-x402-fetch-v2": buy_v2,
    "npm-x402-fetch-v1": buy_v1,
}


@pytest.mark.parametrize("client", CLIENTS)
def test_an_official_client_gets_the_bytes_and_pays_the_price(
    client: str, anywhere: Deployment, funded_account: FundedAccount
) -> None:
    anywhere.upstream.on("/v1/goods", ok_bytes(GOODS))
    payer, earned = funded_account(), anywhere.earned()

    bought = CLIENTS[client](anywhere.url + "/v1/goods", payer.key)

    assert (bought.status, bought.body) == (200, GOODS)
    assert anywhere.earned() - earned == PRICE
    assert bought.receipt is not None and bought.receipt["success"] is True
    mined = anywhere.anvil.rpc("eth_getTransactionReceipt", bought.transaction)
    assert mined["status"] == "0x1" and mined["from"].lower() == anywhere.sender.address.lower()


def test_what_they_buy_from_was_executed(anywhere: Deployment) -> None:
    """Elsewhere gateways are forked (``kit.warm``); here is the command itself, on both stores."""
    assert b"\0-m\0gateway\0serve\0" in Path(f"/proc/{anywhere.gateway.pid}/cmdline").read_bytes()


def test_tollway_pay_tells_every_leg(anywhere: Deployment, funded_account: FundedAccount) -> None:
    anywhere.upstream.on("/v1/goods", ok_bytes(GOODS))
    payer, earned = funded_account(), anywhere.earned()

    done = pay(anywhere.url + "/v1/goods", payer.key)

    assert (done.returncode, done.stdout) == (0, GOODS)
    told = done.stderr.decode()
    assert "402" in told and "0.01 USDC" in told and "PAYMENT-SIGNATURE" in told and "settled" in told
    assert anywhere.earned() - earned == PRICE


def test_tollway_pay_dry_run_pays_nothing(single: Deployment, funded_account: FundedAccount) -> None:
    done = pay(single.url + "/v1/goods", funded_account().key, "--dry-run")
    assert done.returncode == 0 and "0.01 USDC" in done.stderr.decode()
    assert single.earned() == 0 and single.upstream.count() == 0


def test_tollway_pay_stays_under_its_limit(single: Deployment, funded_account: FundedAccount) -> None:
    done = pay(single.url + "/v1/goods", funded_account().key, "--max-amount", "$0.009")
    assert done.returncode == 6 and single.earned() == 0


def test_tollway_pay_says_why_it_was_refused(single: Deployment, funded_account: FundedAccount) -> None:
    done = pay(single.url + "/v1/goods", funded_account(5).key)
    assert done.returncode == 6 and "insufficient" in done.stderr.decode()


def test_tollway_pay_says_that_nobody_is_there() -> None:
    assert pay("http://127.0.0.1:9/x", "0x" + "11" * 32).returncode == 4


def test_a_client_that_knows_both_versions_finds_both(single: Deployment) -> None:
    """One 402 carries the v2 header and the v1 body, for the same money."""
    asked = request(single.url + "/v1/goods")
    v1, v2 = asked.json()["accepts"][0], asked.challenge["accepts"][0]
    assert asked.json()["x402Version"] == 1 and asked.challenge["x402Version"] == 2
    assert (v1["network"], v2["network"]) == ("base-sepolia", "eip155:84532")
    assert v1["maxAmountRequired"] == v2["amount"] == str(PRICE)
    assert v1["resource"] == asked.challenge["resource"]["url"] == single.url + "/v1/goods"
    assert asked.headers["cache-control"] == "no-store"


def pay(url: str, key: str, *options: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "gateway", "pay", url, *options]
    return subprocess.run(
        command, env={**os.environ, "TOLLWAY_PAY_KEY": key}, capture_output=True, timeout=60
    )

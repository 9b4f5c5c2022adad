"""`tollway facilitator` settles each payment once: again, at once, after a crash, and beside our routes."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from kit.accounts import new_account
from kit.answers import request
from kit.anvil import Anvil
from kit.facilitator import FacilitatorServer, requirement
from kit.gateway import Gateway, plain_config
from kit.payments import SignedPayment, pay_challenge, sign_payment
from kit.redis_server import RedisServer
from kit.upstream import Upstream
from kit.upstream_answers import ok_bytes

from gateway.devchain.accounts import DevAccount

FundedAccount = Callable[..., Any]
NONCE_USED = "invalid_exact_evm_nonce_already_used"


@pytest.fixture(scope="module")
def sender(anvil: Anvil) -> DevAccount:
    """Who pays the gas."""
    account = new_account()
    anvil.rpc("anvil_setBalance", account.address, hex(10**19))
    return account


@pytest.fixture(scope="module")
def server(
    anvil: Anvil, tmp_path_factory: pytest.TempPathFactory, sender: DevAccount
) -> Iterator[FacilitatorServer]:
    folder = tmp_path_factory.mktemp("facilitator")
    with FacilitatorServer(folder, rpc=anvil.url, key=sender.key) as running:
        yield running
        assert "Traceback" not in running.logs()


def sent(anvil: Anvil, sender: DevAccount) -> int:
    """How many transactions it has paid for."""
    return int(anvil.rpc("eth_getTransactionCount", sender.address, "latest"), 16)


def bill(payer: DevAccount, payee: str, version: int = 2, **changes: Any) -> SignedPayment:
    return sign_payment(payer.key, requirement(payee, Anvil.token, version), version, **changes)


@pytest.mark.parametrize("version", [1, 2])
def test_a_payment_to_anybody_is_verified_and_settled(
    version: int, server: FacilitatorServer, anvil: Anvil, sender: DevAccount, funded_account: FundedAccount
) -> None:
    payee, payer = new_account().address, funded_account()
    payment = bill(payer, payee, version)

    assert server.verify(payment) == {"isValid": True, "payer": payer.address.lower()}
    settled = server.settle(payment)

    transaction = settled.pop("transaction")
    assert settled == {
        "success": True,
        "payer": payer.address.lower(),
        "network": "base-sepolia" if version == 1 else "eip155:84532",
        "amount": "10000",
    }
    assert anvil.balance(payee) == 10_000
    mined = anvil.rpc("eth_getTransactionReceipt", transaction)
    assert mined["status"] == "0x1" and mined["from"].lower() == sender.address.lower()


def test_a_second_settle_gets_the_first_result_and_so_does_one_after_a_crash(
    server: FacilitatorServer, anvil: Anvil, funded_account: FundedAccount
) -> None:
    payee = new_account().address
    payment = bill(funded_account(), payee)

    first = server.settle(payment)
    assert first["success"] and server.settle(payment) == first
    server.kill()
    server.start()
    assert server.settle(payment) == first

    assert anvil.balance(payee) == 10_000
    assert server.verify(payment)["invalidReason"] == NONCE_USED


def test_settles_at_once_on_two_machines_wait_for_the_one_transaction(
    anvil: Anvil, tmp_path: Path, sender: DevAccount, funded_account: FundedAccount
) -> None:
    payee, before = new_account().address, sent(anvil, sender)
    payment = bill(funded_account(), payee)
    with RedisServer() as redis:
        here, there = (
            FacilitatorServer(tmp_path / name, rpc=anvil.url, key=sender.key, store={"url": redis.url})
            for name in ("here", "there")
        )
        with here, there, ThreadPoolExecutor(8) as crowd:
            told = list(crowd.map(lambda each: each.settle(payment), [here, there] * 4))

    assert all(each == told[0] for each in told) and told[0]["success"]
    assert anvil.balance(payee) == 10_000
    assert sent(anvil, sender) - before == 1


def test_what_was_refused_with_nothing_sent_is_settled_once_there_is_money(
    server: FacilitatorServer, anvil: Anvil, sender: DevAccount, funded_account: FundedAccount
) -> None:
    payer, payee = funded_account(5), new_account().address
    payment = bill(payer, payee)

    refused = server.settle(payment)
    assert (refused["success"], refused["errorReason"]) == (False, "insufficient_funds")
    assert refused["transaction"] == ""
    anvil.mint(payer.address, 10_000)

    assert server.settle(payment)["success"] and anvil.balance(payee) == 10_000


def test_what_was_worked_for_is_settled_with_less_time_left_than_work_is_begun_with(
    server: FacilitatorServer, anvil: Anvil, funded_account: FundedAccount
) -> None:
    payee = new_account().address
    payment = bill(funded_account(), payee, validBefore=int(time.time()) + 20)
    late = "invalid_exact_evm_payload_authorization_valid_before"
    assert server.verify(payment)["invalidReason"] == late
    assert server.settle(payment)["success"] and anvil.balance(payee) == 10_000


def test_a_purse_is_not_promised_twice(
    server: FacilitatorServer, anvil: Anvil, sender: DevAccount, funded_account: FundedAccount
) -> None:
    """Ten payments out of a balance for one, at once: no gas is burnt on the other nine."""
    payer, payee, before = funded_account(10_000), new_account().address, sent(anvil, sender)
    payments = [bill(payer, payee) for _ in range(10)]
    with ThreadPoolExecutor(10) as crowd:
        told = list(crowd.map(server.settle, payments))

    assert sum(each["success"] for each in told) == 1
    assert {each.get("errorReason") for each in told} == {None, "insufficient_funds"}
    assert sent(anvil, sender) - before == 1


def test_a_payment_is_either_a_routes_or_somebody_elses(
    anvil: Anvil, tmp_path: Path, sender: DevAccount, funded_account: FundedAccount
) -> None:
    """A gateway and a facilitator on one store with one key: an authorization buys one thing."""
    payee = new_account().address
    store = {"url": "embedded", "path": str(tmp_path / "data")}
    with Upstream() as upstream:
        upstream.on("/v1/goods", ok_bytes(b"goods"))
        config = plain_config(upstream=upstream.url, rpc=anvil.url, pay_to=payee, key=sender.key, store=store)
        (tmp_path / "gateway").mkdir()
        shop = Gateway(config, folder=tmp_path / "gateway")
        server = FacilitatorServer(tmp_path / "facilitator", rpc=anvil.url, key=sender.key, store=store)
        with shop, server:
            url = shop.url + "/v1/goods"
            sold = pay_challenge(funded_account().key, request(url))
            assert request(url, headers=sold.headers).status == 200
            refused = server.settle(sold)
            assert (refused["success"], refused["errorReason"]) == (False, NONCE_USED)
            assert server.verify(sold)["invalidReason"] == NONCE_USED

            lent = pay_challenge(funded_account().key, request(url))
            assert server.settle(lent)["success"]
            assert request(url, headers=lent.headers).json()["code"] == "payment_bound_elsewhere"
    assert anvil.balance(payee) == 20_000


@pytest.fixture(scope="module")
def stuck(
    sender: DevAccount, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[FacilitatorServer, Anvil]]:
    """A facilitator with a second to settle, on a chain that mines only when told."""
    with Anvil(extra=("--no-mining",)) as chain:
        chain.place_token()
        chain.rpc("anvil_setBalance", sender.address, hex(10**19))
        network = {"chain_id": 84532, "v1_name": "base-sepolia", "rpc": chain.url, "settle_within": "1s"}
        folder = tmp_path_factory.mktemp("stuck")
        with FacilitatorServer(
            folder, rpc=chain.url, key=sender.key, networks={"localdev": network}
        ) as running:
            yield running, chain


@pytest.mark.parametrize("crash", [False, True], ids=["alive", "killed"])
def test_an_outcome_that_is_not_known_is_pending_with_its_hash_and_known_later(
    crash: bool, stuck: tuple[FacilitatorServer, Anvil], sender: DevAccount
) -> None:
    server, chain = stuck
    payer, payee, before = new_account(), new_account().address, sent(chain, sender)
    chain.mint(payer.address, 10_000)
    payment = bill(payer, payee)
    pending = server.settle(payment)
    assert (pending["success"], pending["errorReason"]) == (False, "settlement_pending")
    if crash:
        server.kill()
        server.start()
    chain.mine()
    known = until_known(server, payment)
    assert known["success"] and known["transaction"] == pending["transaction"] != ""
    assert chain.balance(payee) == 10_000 and sent(chain, sender) - before == 1


def until_known(server: FacilitatorServer, payment: SignedPayment) -> dict[str, Any]:
    """As a server that asks again; who left it unknown has its lease for ten seconds."""
    deadline = time.monotonic() + 30
    while (told := server.settle(payment)).get("errorReason") == "settlement_pending":
        assert time.monotonic() < deadline
    return told


def test_bytes_that_are_no_request_are_told_so(server: FacilitatorServer) -> None:
    with socket.create_connection(urlsplit(server.url).netloc.split(":")) as connection:
        connection.sendall(b"neither verify nor settle\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
    assert answer.split()[1] == b"400" and b'"code":"bad_request"' in answer

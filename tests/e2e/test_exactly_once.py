"""One signature buys one answer, however often and wherever it is sent."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import aiohttp
import pytest
from kit.answers import Answer, request, request_with
from kit.deployment import PRICE, Deployment
from kit.payments import sign_payment
from kit.upstream_answers import later, ok_json

from facilitator.token_abi import AUTHORIZATION_USED

FundedAccount = Callable[..., Any]
RACE = 200


async def at_once(url: str, headers: list[Mapping[str, str]]) -> list[Answer]:
    """All of them at the same time, each on a connection of its own."""
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:
        return await asyncio.gather(*(request_with(session, url, headers=each) for each in headers))


async def test_one_payment_sent_200_times_at_once(
    anywhere: Deployment, funded_account: FundedAccount
) -> None:
    anywhere.upstream.on("/v1/once", later(0.2))
    payment, earned = anywhere.sign("/v1/once", funded_account()), anywhere.earned()

    answers = await at_once(anywhere.url + "/v1/once", [payment.headers] * RACE)

    outcomes = Counter(each.status for each in answers)
    assert outcomes == {200: 1, 409: RACE - 1}
    codes = {each.json()["code"] for each in answers if each.status == 409}
    assert codes <= {"payment_in_progress", "payment_used"}
    assert anywhere.upstream.count("/v1/once") == 1
    assert anywhere.earned() - earned == PRICE


def nonces_used(where: Deployment, transaction: str) -> set[str]:
    """The authorizations a transaction used: many may share one."""
    logs = where.anvil.rpc("eth_getTransactionReceipt", transaction)["logs"]
    return {log["topics"][2] for log in logs if log["topics"][0] == AUTHORIZATION_USED}


async def test_200_payments_by_one_payer_for_one_url(
    anywhere: Deployment, funded_account: FundedAccount
) -> None:
    """The balance covers exactly these: each claim counts against the others, none twice."""
    payer, earned = funded_account(RACE * PRICE), anywhere.earned()
    offer = request(anywhere.url + "/v1/many").challenge["accepts"][0]
    payments = [sign_payment(payer.key, offer) for _ in range(RACE)]

    answers = await at_once(anywhere.url + "/v1/many", [each.headers for each in payments])

    assert Counter(each.status for each in answers) == {200: RACE}
    assert len({each.json()["number"] for each in answers}) == RACE
    used = {
        transaction: nonces_used(anywhere, transaction) for transaction in {a.transaction for a in answers}
    }
    for payment, answer in zip(payments, answers, strict=True):
        assert payment.authorization["nonce"] in used[answer.transaction]
    assert anywhere.upstream.count("/v1/many") == RACE
    assert anywhere.earned() - earned == RACE * PRICE


ELSEWHERE = {
    "another path": ("/v1/bound-b", "GET", b""),
    "another query": ("/v1/bound?x=1", "GET", b""),
    "another body": ("/v1/bound", "GET", b"other"),
    "another method": ("/v1/bound", "POST", b""),
}


@pytest.mark.parametrize("where", ELSEWHERE)
def test_a_payment_is_bound_to_its_request(
    where: str, anywhere: Deployment, funded_account: FundedAccount
) -> None:
    path, method, body = ELSEWHERE[where]
    payment = anywhere.sign("/v1/bound", funded_account())
    assert request(anywhere.url + "/v1/bound", headers=payment.headers).status == 200
    upstream = anywhere.upstream.count()

    moved = request(anywhere.url + path, method, payment.headers, body or None)

    assert (moved.status, moved.json()["code"]) == (409, "payment_bound_elsewhere")
    assert anywhere.upstream.count() == upstream


def test_a_bought_answer_is_fetched_again_by_its_key_only(
    anywhere: Deployment, funded_account: FundedAccount
) -> None:
    payment, url = anywhere.sign("/v1/kept", funded_account()), anywhere.url + "/v1/kept"
    mine = {**payment.headers, "Idempotency-Key": "my-key"}
    bought, earned = request(url, headers=mine), anywhere.earned()

    again = request(url, headers=mine)
    assert (again.status, again.body) == (200, bought.body)
    assert again.headers["idempotent-replayed"] == "true"
    assert again.headers["content-type"] == bought.headers["content-type"]
    assert again.transaction == bought.transaction

    for headers in (payment.headers, {**payment.headers, "Idempotency-Key": "a-guess"}):
        refused = request(url, headers=headers)
        assert (refused.status, refused.json()["code"]) == (409, "payment_used")
    assert anywhere.upstream.count("/v1/kept") == 1 and anywhere.earned() == earned


def test_the_envelope_does_not_matter(anywhere: Deployment, funded_account: FundedAccount) -> None:
    """The same authorization as v1, with another case of its addresses: still the same payment."""
    payer = funded_account()
    bought = anywhere.sign("/v1/envelope", payer)
    assert request(anywhere.url + "/v1/envelope", headers=bought.headers).status == 200
    offer = request(anywhere.url + "/v1/envelope").json()["accepts"][0]
    other = sign_payment(payer.key, offer, 1)
    other.authorization = {**bought.authorization, "from": bought.authorization["from"].lower()}
    other.signature = bought.signature

    again = request(anywhere.url + "/v1/envelope", headers=other.headers)
    assert (again.status, again.json()["code"]) == (409, "payment_used")


def test_two_gateways_with_stores_of_their_own_do_not_both_deliver(
    single_with: Callable[..., Any], anvil: Any, tmp_path: Any, funded_account: FundedAccount
) -> None:
    """The chain is the last guard: the second one finds the nonce used."""
    from kit.deployment import deployed

    first = single_with()
    (tmp_path / "second").mkdir()
    rails = {
        "x402": {"pay_to": first.pay_to, "networks": ["localdev"], "facilitator": {"key": first.sender.key}}
    }
    with deployed(anvil, tmp_path / "second", rails=rails, server={"public_url": first.url}) as second:
        payment = first.sign("/v1/x", funded_account())
        assert request(first.url + "/v1/x", headers=payment.headers).status == 200
        refused = request(second.url + "/v1/x", headers=payment.headers)
        assert (refused.status, refused.json()["code"]) == (402, "invalid_exact_evm_nonce_already_used")
        assert second.upstream.count() == 0


def test_a_payment_cancelled_while_the_upstream_works_gets_no_answer(
    single: Deployment, funded_account: FundedAccount
) -> None:
    """Denial of settlement: proof that it cannot be paid is a 402, and the answer stays here."""
    single.upstream.on("/v1/slow", later(1.0, ok_json({"secret": 1})))
    payer = funded_account()
    payment = single.sign("/v1/slow", payer)

    async def race() -> Answer:
        buying = asyncio.create_task(
            asyncio.to_thread(request, single.url + "/v1/slow", "GET", payment.headers)
        )
        await asyncio.to_thread(single.upstream.wait_for, 1, "/v1/slow")
        await asyncio.to_thread(drain, single, payer)
        return await buying

    refused = asyncio.run(race())
    assert refused.status == 402 and b"secret" not in refused.body
    assert refused.receipt is not None and refused.receipt["success"] is False
    assert single.earned() == 0
    again = request(single.url + "/v1/slow", headers=payment.headers)
    assert (again.status, again.json()["code"]) == (402, refused.json()["code"])


def drain(deployment: Deployment, payer: Any) -> None:
    """Move the payer's money away, as its owner could."""
    from eth_account import Account
    from web3 import Web3

    token = "0x036CbD53842c5426634e7929541eC2318f3dCF7e"
    deployment.anvil.rpc("anvil_setBalance", payer.address, hex(10**18))
    amount = deployment.anvil.balance(payer.address)
    data = "0xa9059cbb" + "11".rjust(64, "0") + hex(amount)[2:].rjust(64, "0")
    signed = Account.sign_transaction(
        {
            "to": token,
            "data": data,
            "value": 0,
            "gas": 100_000,
            "maxFeePerGas": 10**11,
            "maxPriorityFeePerGas": 10**9,
            "nonce": 0,
            "chainId": 84532,
        },
        payer.key,
    )
    deployment.anvil.rpc("eth_sendRawTransaction", Web3.to_hex(signed.raw_transaction))

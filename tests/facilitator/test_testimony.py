"""Endpoints that lie about what became of a payment: no delivery and no refusal on one's word."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from kit.anvil import Anvil
from kit.faultproxy import Error, FaultProxy, Feign, Lie, nothing, reverted
from web3 import Web3

from facilitator import testimony
from facilitator.base import Due, Outgoing, Refused, Settled, Unknown
from facilitator.exact_evm import VALID_BEFORE
from facilitator.testimony import TRANSACTION_FAILED, Case, hear
from facilitator.token_abi import AUTHORIZATION_USED, TRANSFER, address_word
from facilitator.wire import PaymentRequirements

Proxies = Callable[[int], list[FaultProxy]]
OPERATOR = Anvil.accounts[0]
RECEIPT = "eth_getTransactionReceipt"
SEND = "eth_sendRawTransaction"


def swallow(params: list[Any]) -> str:
    """A send that is acknowledged and goes nowhere."""
    return Web3.keccak(hexstr=params[0]).to_0x_hex()


def forged(anvil: Anvil, due: Due) -> Lie:
    """A receipt of a transaction that was never mined, in a real block, with the very logs wanted."""

    def receipt(params: list[Any], truth: Any) -> Any:
        block = anvil.rpc("eth_getBlockByNumber", "latest", False)
        return truth or _paid(params[0], due, block)

    return Lie(receipt)


def _paid(transaction: str, due: Due, block: dict[str, Any]) -> dict[str, Any]:
    authorization = due.payload.authorization
    sender = "0x" + address_word(authorization.sender)
    used = {"topics": [AUTHORIZATION_USED, sender, "0x" + authorization.nonce.hex()], "data": "0x"}
    to = "0x" + address_word(authorization.to)
    value = "0x" + authorization.value.to_bytes(32, "big").hex()
    moved = {"topics": [TRANSFER, sender, to], "data": value}
    return {
        "transactionHash": transaction,
        "status": "0x1",
        "blockNumber": block["number"],
        "blockHash": block["hash"],
        "from": OPERATOR.address,
        "logs": [{"address": due.requirements.asset, **log} for log in (used, moved)],
    }


async def test_a_forged_receipt_delivers_nothing(
    anvil: Anvil, proxies: Proxies, rig: Any, payer: Any, journal: Any, terms: PaymentRequirements
) -> None:
    """chain-03: the first of two endpoints swallows the transaction and swears that it paid."""
    anvil.mint(payer.address, terms.amount)
    liar, honest = proxies(2)
    due = rig.due(payer.pay(terms), terms)
    liar.on(Feign(swallow), SEND)
    liar.on(forged(anvil, due), RECEIPT)
    facilitator = rig.facilitator(liar.url, honest.url, settle_within=0.6)
    pending = await facilitator.settle(due, journal)
    assert pending == Unknown(journal.recorded[0].hash)
    assert rig.transfers(anvil, terms) == 0
    assert SEND not in honest.asked
    assert await facilitator.settle(due, journal) == Settled(pending.transaction), "sent to the other, too"
    assert rig.transfers(anvil, terms) == 1


async def test_a_wrong_clock_makes_no_liar_credible(
    anvil: Anvil, proxies: Proxies, rig: Any, payer: Any, journal: Any, terms: PaymentRequirements
) -> None:
    """chain-03, clock-00: by our clock both endpoints lag; that the honest one does excuses nothing."""
    anvil.mint(payer.address, terms.amount)
    liar, honest = proxies(2)
    due = rig.due(payer.pay(terms), terms)
    for each in (liar, honest):
        each.on(Feign(swallow), SEND)
    before = rig.facilitator(liar.url, honest.url, settle_within=0.3)
    pending = await before.settle(due, journal)
    liar.on(forged(anvil, due), RECEIPT)
    wrong = rig.facilitator(liar.url, honest.url, settle_within=0.3, clock=lambda: time.time() + 3600)
    assert await wrong.settle(due, journal) == pending == Unknown(journal.recorded[0].hash)


@pytest.mark.parametrize("lie", ["null", "reverted", "another's"])
@pytest.mark.parametrize("endpoints", [1, 2, 3])
async def test_a_payment_that_an_endpoint_denies(
    lie: str,
    endpoints: int,
    anvil: Anvil,
    proxies: Proxies,
    rig: Any,
    payer: Any,
    journal: Any,
    terms: PaymentRequirements,
) -> None:
    """chain-03: never refused for it; two honest endpoints are enough, one against one is unknown."""
    anvil.mint(payer.address, 2 * terms.amount)
    other = await rig.facilitator(anvil.url).settle(rig.due(payer.pay(terms), terms), journal)
    another = anvil.rpc(RECEIPT, other.transaction)
    lies = {"null": nothing, "reverted": reverted, "another's": lambda params, truth: truth and another}
    liar, *honest = proxies(endpoints)
    liar.on(Lie(lies[lie]), RECEIPT)
    facilitator = rig.facilitator(liar.url, *(each.url for each in honest), settle_within=0.6)
    due = rig.due(payer.pay(terms), terms)
    found = await facilitator.settle(due, journal)
    again = await facilitator.settle(due, journal)
    ours = journal.recorded[1].hash
    assert found in (Unknown(ours), Settled(ours))
    assert again == (Settled(ours) if endpoints == 3 else Unknown(ours))
    liar.clear()
    assert await facilitator.settle(due, journal) == Settled(ours)
    assert (len(journal.recorded), rig.transfers(anvil, terms)) == (2, 2)


@pytest.mark.parametrize(
    "case",
    ["all agree", "one is down", "one hides the receipt", "one of three hides it", "one says paid"],
)
async def test_reverted_is_believed_only_when_all_say_so(
    case: str, rig: Any, payer: Any, journal: Any, terms: PaymentRequirements
) -> None:
    """The balance is drained between our simulation and our block."""
    with (
        Anvil(extra=["--no-mining", "--order", "fees"]) as anvil,
        FaultProxy(anvil.url) as first,
        FaultProxy(anvil.url) as second,
        FaultProxy(anvil.url) as third,
    ):
        anvil.place_token()
        anvil.mint(payer.address, terms.amount)
        anvil.mine()
        due = rig.due(payer.pay(terms), terms)
        urls = [first.url, second.url, third.url][: 3 if case == "one of three hides it" else 2]
        facilitator = rig.facilitator(*urls, settle_within=1.0)
        settling = asyncio.create_task(facilitator.settle(due, journal))
        await rig.until(lambda: rig.count(anvil, "pending") == 1)
        rig.send_transfer(anvil, payer.pay(terms))
        if case == "one is down":
            second.refuse()
        elif "hides" in case:
            second.on(Lie(nothing), RECEIPT)
        elif case == "one says paid":
            paid = forged(anvil, due).change
            second.on(Lie(lambda params, truth: paid(params, None)), RECEIPT)
        anvil.mine()
        refused = Refused("insufficient_funds", "ERC20: transfer amount exceeds balance")
        assert await settling == (refused if case == "all agree" else Unknown(journal.recorded[0].hash))
        second.clear()
        facilitator = rig.facilitator(*urls, settle_within=1.0)
        assert await facilitator.settle(due, journal) == refused
        assert journal.closed == {journal.recorded[0].hash}


async def test_a_second_endpoint_that_is_down_does_not_stop_the_house(
    anvil: Anvil, proxies: Proxies, rig: Any, payer: Any, journal: Any, terms: PaymentRequirements
) -> None:
    """chain-00: one of two: what the other one shows with its confirmations is settled."""
    anvil.mint(payer.address, terms.amount)
    first, second = proxies(2)
    second.refuse()
    due = rig.due(payer.pay(terms), terms)
    done = await rig.facilitator(first.url, second.url).settle(due, journal)
    assert done == Settled(journal.recorded[0].hash)


@pytest.mark.parametrize("endpoints", [1, 2])
async def test_expired_unused_and_final_is_refused_never_before(
    endpoints: int,
    anvil: Anvil,
    proxies: Proxies,
    rig: Any,
    payer: Any,
    journal: Any,
    terms: PaymentRequirements,
) -> None:
    anvil.mint(payer.address, terms.amount)
    asked = proxies(endpoints)
    for each in asked:
        each.on(Feign(swallow), SEND)
    facilitator = rig.facilitator(*(each.url for each in asked), settle_within=0.3, finality=10)
    due = rig.due(payer.pay(terms, valid_before=anvil.now() + 20), terms)
    pending = await facilitator.settle(due, journal)
    assert pending == Unknown(journal.recorded[0].hash)
    anvil.mine(30)
    assert await facilitator.settle(due, journal) == pending, "many blocks, still valid"
    anvil.rpc("evm_setNextBlockTimestamp", due.payload.authorization.valid_before)
    anvil.mine(10)
    assert await facilitator.settle(due, journal) == pending, "expired, not final"
    if endpoints == 2:
        asked[1].lag(1)
    anvil.mine()
    if endpoints == 2:
        assert await facilitator.settle(due, journal) == pending, "not final for both"
        asked[1].clear()
        asked[1].on(Feign(swallow), SEND)
        asked[0].refuse()
        assert await facilitator.settle(due, journal) == pending, "one word is not enough"
        asked[0].clear()
        asked[0].on(Feign(swallow), SEND)
        facilitator = rig.facilitator(*(each.url for each in asked), settle_within=0.3, finality=10)
    refused = await facilitator.settle(due, journal)
    assert isinstance(refused, Refused)
    assert refused.reason == VALID_BEFORE
    assert rig.transfers(anvil, terms) == 0


async def test_nothing_is_refused_while_one_of_ours_may_be_mined(
    anvil: Anvil, rig: Any, payer: Any, journal: Any, terms: PaymentRequirements
) -> None:
    """One of two recorded transactions failed; the other one has not had its turn."""
    anvil.mint(payer.address, terms.amount)
    facilitator, due = rig.facilitator(anvil.url), rig.due(payer.pay(terms), terms)
    client, ours = facilitator.client(terms.network), [OPERATOR.address.lower()]
    anvil.rpc("anvil_setCode", Anvil.token, "0x60006000fd")
    bad = anvil.rpc("eth_sendTransaction", {"from": OPERATOR.address, "to": Anvil.token, "gas": hex(50_000)})
    await rig.until(lambda: anvil.rpc(RECEIPT, bad) is not None)
    anvil.place_token()
    failed = outgoing(due, bad, 0)
    alone = await testimony.testify(client, Case(due, [failed], ours))
    assert alone.verdict == Refused(TRANSACTION_FAILED)
    waits = outgoing(due, "0x" + "11" * 32, 1)
    assert (await testimony.testify(client, Case(due, [failed, waits], ours))).verdict == Unknown()
    raised = replace(waits, nonce=0)
    assert await hear(client.apart(), Case(due, [failed, raised], ours)) == Refused(TRANSACTION_FAILED)


@pytest.mark.usefixtures("quick")
async def test_no_second_transaction_on_one_endpoints_word(
    anvil: Anvil, proxies: Proxies, rig: Any, payer: Any, journal: Any, terms: PaymentRequirements
) -> None:
    """chain-03: it says that another transaction took our nonce and that nothing is paid: gas for nothing."""
    anvil.mint(payer.address, terms.amount)
    liar, honest = proxies(2)
    due = rig.due(payer.pay(terms), terms)
    facilitator = rig.facilitator(liar.url, honest.url, settle_within=0.5)
    anvil.rpc("evm_setAutomine", False)
    await facilitator.settle(due, journal)
    liar.on(Lie(nothing), RECEIPT)
    liar.on(Lie(lambda params, count: hex(int(count, 16) + 5)), "eth_getTransactionCount")
    liar.on(Error("nonce too low"), SEND)
    assert await facilitator.settle(due, journal) == Unknown(journal.recorded[0].hash)
    assert len(journal.recorded) == 1
    liar.clear()
    anvil.mine()
    assert await facilitator.settle(due, journal) == Settled(journal.recorded[0].hash)


async def test_a_front_runners_receipt_is_not_passed_off_as_ours(
    anvil: Anvil, proxy: FaultProxy, rig: Any, payer: Any, terms: PaymentRequirements, token_calls: Any
) -> None:
    """chain-03, chain-19: an endpoint shows theirs when asked for ours: still recognised, not our own."""
    anvil.mint(payer.address, terms.amount)
    due = rig.due(payer.pay(terms), terms)
    theirs = token_calls.transfer(due.payload)
    receipt = anvil.rpc(RECEIPT, theirs)
    proxy.on(Lie(lambda params, truth: receipt), RECEIPT)
    client = rig.facilitator(proxy.url).client(terms.network)
    case = Case(due, [outgoing(due, "0x" + "11" * 32, 0)], [OPERATOR.address.lower()])
    found = await testimony.testify(client, case)
    assert found.verdict == Settled(theirs, recognised=True)


def outgoing(due: Due, transaction: str, nonce: int) -> Outgoing:
    return Outgoing(due.sender, nonce, transaction, b"", (due.payment_id,))

"""What a mined transaction or a used nonce proves, on a real chain."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data
from kit.anvil import Anvil
from web3 import Web3

from facilitator.base import Due, Refused, Settled, Unknown, VerificationUnavailable
from facilitator.evidence import judge_used
from facilitator.rpc import RpcError
from facilitator.wire import PaymentRequirements

USED = "invalid_exact_evm_nonce_already_used"
OPERATOR = Anvil.accounts[0]


async def test_front_run_after_the_claim_is_our_payment(
    anvil: Anvil, rig: Any, payer: Any, journal: Any, terms: PaymentRequirements, token_calls: SimpleNamespace
) -> None:
    """chain-19: and it is told that the money was moved by somebody else."""
    anvil.mint(payer.address, terms.amount)
    due = rig.due(payer.pay(terms), terms)
    theirs = token_calls.transfer(due.payload)
    assert await rig.facilitator(anvil.url).settle(due, journal) == Settled(theirs, recognised=True)
    assert journal.recorded == []


async def test_used_before_the_claim_is_refused(
    anvil: Anvil, rig: Any, payer: Any, journal: Any, terms: PaymentRequirements, token_calls: SimpleNamespace
) -> None:
    """chain-19"""
    anvil.mint(payer.address, terms.amount)
    payload = payer.pay(terms)
    token_calls.transfer(payload)
    used_at = anvil.now()
    late = rig.due(payload, terms, claimed_at=(used_at + 1) * 1000)
    same_second = rig.due(payload, terms, claimed_at=used_at * 1000 + 999)
    facilitator = rig.facilitator(anvil.url)
    refused = await facilitator.settle(late, journal)
    assert isinstance(refused, Refused)
    assert refused.reason == USED
    assert isinstance(await facilitator.settle(same_second, journal), Settled)


async def test_sent_by_our_key_for_another_store_is_refused(
    anvil: Anvil, rig: Any, payer: Any, journal: Any, terms: PaymentRequirements, token_calls: SimpleNamespace
) -> None:
    anvil.mint(payer.address, terms.amount)
    due = rig.due(payer.pay(terms), terms)
    token_calls.transfer(due.payload, by=OPERATOR.address)
    refused = await rig.facilitator(anvil.url).settle(due, journal)
    assert isinstance(refused, Refused)
    assert refused.reason == USED


async def test_our_own_record_is_proof_whatever_the_clocks_say(
    anvil: Anvil, rig: Any, payer: Any, journal: Any, terms: PaymentRequirements
) -> None:
    """A block may bear an earlier second than the claim; what we recorded, we sent after claiming."""
    anvil.mint(payer.address, terms.amount)
    facilitator = rig.facilitator(anvil.url)
    due = rig.due(payer.pay(terms), terms)
    done = await facilitator.settle(due, journal)
    late = replace(due, claimed_at=due.claimed_at + 5000)
    client, ours = facilitator.client(terms.network), [OPERATOR.address.lower()]
    assert await judge_used(client, late, [done.transaction], ours) == done
    assert isinstance(await judge_used(client, late, [], ours), Refused)


async def test_a_used_nonce_without_its_log_is_unknown(
    anvil: Anvil, rig: Any, payer: Any, journal: Any, terms: PaymentRequirements
) -> None:
    client = rig.facilitator(anvil.url).client(terms.network)
    assert await judge_used(client, rig.due(payer.pay(terms), terms), [], []) == Unknown()


async def test_narrow_log_providers(
    anvil: Anvil, rig: Any, payer: Any, journal: Any, terms: PaymentRequirements, token_calls: SimpleNamespace
) -> None:
    """A provider that gives ten blocks of logs at a time is asked ten at a time."""
    anvil.mint(payer.address, terms.amount)
    due = rig.due(payer.pay(terms), terms)
    theirs = token_calls.transfer(due.payload)
    anvil.mine(25)
    client = rig.facilitator(anvil.url).client(terms.network)
    call, asked = client.rpc.call, []

    async def narrow(method: str, *params: Any) -> Any:
        if method == "eth_getLogs":
            asked.append(int(params[0]["toBlock"], 16) - int(params[0]["fromBlock"], 16) + 1)
            if asked[-1] > 10:
                return RpcError(-32600, "at most 10 blocks", None)
        return await call(method, *params)

    client.rpc.call = narrow
    assert await judge_used(client, due, [], []) == Settled(theirs, recognised=True)
    assert asked[-1] <= 10


async def test_front_run_while_ours_waits(
    rig: Any, payer: Any, journal: Any, terms: PaymentRequirements
) -> None:
    """chain-19: ours is in the pool when another is mined first: ours reverts, the money has arrived."""
    with Anvil(extra=["--no-mining", "--order", "fees"]) as anvil:
        anvil.place_token()
        anvil.mint(payer.address, terms.amount)
        facilitator = rig.facilitator(anvil.url, settle_within=4.0)
        due = rig.due(payer.pay(terms), terms)
        settling = asyncio.create_task(facilitator.settle(due, journal))
        await rig.until(lambda: rig.count(anvil, "pending") == 1)
        theirs = rig.send_transfer(anvil, due.payload)
        anvil.mine()
        assert await settling == Settled(theirs, recognised=True)
        ours = anvil.rpc("eth_getTransactionReceipt", journal.recorded[0].hash)
        assert ours["status"] == "0x0"
        assert journal.closed == {journal.recorded[0].hash}


def cancel(payer: Any, due: Due, token_calls: SimpleNamespace) -> None:
    authorization, terms = due.payload.authorization, due.requirements
    nonce, sender = authorization.nonce, Web3.to_checksum_address(payer.address)
    domain = {"name": "USDC", "version": "2", "chainId": 84532, "verifyingContract": terms.asset}
    fields = [{"name": "authorizer", "type": "address"}, {"name": "nonce", "type": "bytes32"}]
    message = {"authorizer": sender, "nonce": nonce}
    signed = Account.sign_message(
        encode_typed_data(domain, {"CancelAuthorization": fields}, message), payer.secret
    )
    token_calls.send("cancelAuthorization(address,bytes32,bytes)", sender, nonce, bytes(signed.signature))


async def test_cancelled(
    anvil: Anvil, rig: Any, payer: Any, journal: Any, terms: PaymentRequirements, token_calls: SimpleNamespace
) -> None:
    anvil.mint(payer.address, terms.amount)
    due = rig.due(payer.pay(terms), terms)
    cancel(payer, due, token_calls)
    refused = await rig.facilitator(anvil.url).settle(due, journal)
    assert refused == Refused(USED, "cancelled by the payer")


async def test_reverted_on_chain(rig: Any, payer: Any, journal: Any, terms: PaymentRequirements) -> None:
    """chain-17: drained between our simulation and our block: nothing moved, and that is proof."""
    with Anvil(extra=["--no-mining", "--order", "fees"]) as anvil:
        anvil.place_token()
        anvil.mint(payer.address, terms.amount)
        facilitator = rig.facilitator(anvil.url, settle_within=4.0)
        due = rig.due(payer.pay(terms), terms)
        settling = asyncio.create_task(facilitator.settle(due, journal))
        await rig.until(lambda: rig.count(anvil, "pending") == 1)
        rig.send_transfer(anvil, payer.pay(terms))
        anvil.mine()
        refused = await settling
        assert isinstance(refused, Refused)
        assert refused.reason == "insufficient_funds"
        assert journal.closed == {journal.recorded[0].hash}
        assert await facilitator.settle(due, journal) == refused, "and again the same"


async def test_a_token_that_lies(
    anvil: Anvil, rig: Any, payer: Any, journal: Any, terms: PaymentRequirements
) -> None:
    """Mined with status 1 and no Transfer log: not settled."""
    always_zero = "0x600060005260206000f3"
    anvil.mint(payer.address, terms.amount)
    facilitator = rig.facilitator(anvil.url)
    due = rig.due(payer.pay(terms), terms)
    anvil.rpc("anvil_setCode", Anvil.token, always_zero)
    refused = await facilitator.settle(due, journal)
    assert refused == Refused("invalid_exact_evm_transfer_event_mismatch")


async def test_front_run_while_ours_cannot_be_mined(
    rig: Any, payer: Any, journal: Any, terms: PaymentRequirements
) -> None:
    """chain-19: ours is too cheap to be mined; the log of theirs settles it, and ours stays in care."""
    with Anvil(extra=["--no-mining"]) as anvil:
        anvil.place_token()
        anvil.mint(payer.address, terms.amount)
        facilitator, due = rig.facilitator(anvil.url, settle_within=0.3), rig.due(payer.pay(terms), terms)
        assert isinstance(await facilitator.settle(due, journal), Unknown)
        theirs = rig.send_transfer(anvil, due.payload)
        anvil.rpc("anvil_setNextBlockBaseFeePerGas", hex(60 * 10**9))
        anvil.mine()
        assert await facilitator.settle(due, journal) == Settled(theirs, recognised=True)
        assert journal.closed == set()


async def test_an_unconfirmed_cancellation_is_no_proof(
    anvil: Anvil, rig: Any, payer: Any, journal: Any, terms: PaymentRequirements, token_calls: SimpleNamespace
) -> None:
    due = rig.due(payer.pay(terms), terms)
    cancel(payer, due, token_calls)
    facilitator = rig.facilitator(anvil.url, confirmations=3, settle_within=0.1)
    assert await facilitator.settle(due, journal) == Unknown()
    anvil.mine(2)
    assert await facilitator.settle(due, journal) == Refused(USED, "cancelled by the payer")


async def test_a_payment_without_a_record_is_found(
    anvil: Anvil, rig: Any, payer: Any, journal: Any, terms: PaymentRequirements, token_calls: SimpleNamespace
) -> None:
    """By whom it was sent does not matter; where it went does."""
    anvil.mint(payer.address, 2 * terms.amount)
    facilitator = rig.facilitator(anvil.url)
    paid, unpaid, cancelled = (payer.pay(terms) for _ in range(3))
    theirs = token_calls.transfer(paid)
    cancel(payer, rig.due(cancelled, terms), token_calls)
    assert await facilitator.find_paid(terms, paid) == theirs
    assert await facilitator.find_paid(terms, unpaid) is None
    assert await facilitator.find_paid(terms, cancelled) is None
    elsewhere = replace(terms, pay_to=Anvil.accounts[8].address)
    to_others = payer.pay(elsewhere)
    token_calls.transfer(to_others)
    assert await facilitator.find_paid(terms, to_others) is None
    reused = payer.pay(terms, nonce=to_others.authorization.nonce)
    assert await facilitator.find_paid(terms, reused) is None, "the nonce was used to pay somebody else"
    with pytest.raises(VerificationUnavailable):
        await rig.facilitator("http://127.0.0.1:1").find_paid(terms, paid)


async def test_reorg(anvil: Anvil, rig: Any, payer: Any, journal: Any, terms: PaymentRequirements) -> None:
    """A settlement that a reorg took back is sent again as the same bytes."""
    anvil.mint(payer.address, terms.amount)
    due, facilitator = rig.due(payer.pay(terms), terms), rig.facilitator(anvil.url)
    before = anvil.snapshot()
    first = await facilitator.settle(due, journal)
    anvil.revert(before)
    assert anvil.balance(terms.pay_to) == 0
    assert await facilitator.settle(due, journal) == first
    assert (rig.transfers(anvil, terms), len(journal.recorded)) == (1, 1)

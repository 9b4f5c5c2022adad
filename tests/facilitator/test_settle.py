"""Settlement on a real chain: once, refused, and two hundred at once."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from kit.anvil import Anvil
from web3 import Web3

from facilitator.base import Refused, Settled
from facilitator.wire import PaymentRequirements

OPERATOR = Anvil.accounts[0]
SENDER = f"eip155:84532:{OPERATOR.address.lower()}"


async def test_happy(anvil: Anvil, rig: Any, payer: Any, journal: Any, terms: PaymentRequirements) -> None:
    anvil.mint(payer.address, terms.amount)
    due = rig.due(payer.pay(terms), terms)
    done = await rig.facilitator(anvil.url).settle(due, journal)
    assert isinstance(done, Settled)
    assert anvil.balance(terms.pay_to) == terms.amount
    assert anvil.balance(payer.address) == 0
    [recorded] = journal.recorded
    assert (recorded.hash, recorded.sender, recorded.nonce) == (done.transaction, SENDER, 0)
    assert journal.closed == {recorded.hash}
    sent = anvil.rpc("eth_getTransactionByHash", done.transaction)
    assert int(sent["maxFeePerGas"], 16) <= 50 * 10**9
    assert sent["type"] == "0x2"


async def test_twice_is_once(
    anvil: Anvil, rig: Any, payer: Any, journal: Any, terms: PaymentRequirements
) -> None:
    anvil.mint(payer.address, 2 * terms.amount)
    due = rig.due(payer.pay(terms), terms)
    first = await rig.facilitator(anvil.url).settle(due, journal)
    again = await rig.facilitator(anvil.url).settle(due, journal)
    assert first == again == Settled(journal.recorded[0].hash)
    assert (len(journal.recorded), rig.count(anvil), rig.transfers(anvil, terms)) == (1, 1, 1)


async def test_v_zero_or_one_settles(
    anvil: Anvil, rig: Any, payer: Any, journal: Any, terms: PaymentRequirements
) -> None:
    anvil.mint(payer.address, terms.amount)
    payload = payer.pay(terms)
    low = replace(payload, signature=payload.signature[:64] + bytes([payload.signature[64] - 27]))
    assert isinstance(await rig.facilitator(anvil.url).settle(rig.due(low, terms), journal), Settled)


@pytest.mark.parametrize("case", ["paused", "blacklisted", "drained", "expired", "no code"])
async def test_refused_before_anything_is_sent(
    case: str,
    anvil: Anvil,
    rig: Any,
    payer: Any,
    journal: Any,
    terms: PaymentRequirements,
    token_calls: SimpleNamespace,
) -> None:
    simulation = "invalid_exact_evm_transaction_simulation_failed"
    reason = {"drained": "insufficient_funds", "no code": "asset_not_deployed_contract"}.get(case, simulation)
    anvil.mint(payer.address, terms.amount)
    payload = payer.pay(terms)
    if case == "paused":
        token_calls.send("pause")
    elif case == "blacklisted":
        token_calls.send("blacklist", Web3.to_checksum_address(terms.pay_to))
    elif case == "drained":
        token_calls.transfer(payer.pay(terms))
    elif case == "expired":
        payload = payer.pay(terms, valid_before=anvil.now() - 1)
        reason = "invalid_exact_evm_payload_authorization_valid_before"
    else:
        anvil.rpc("anvil_setCode", Anvil.token, "0x")
    refused = await rig.facilitator(anvil.url).settle(rig.due(payload, terms), journal)
    assert isinstance(refused, Refused)
    assert refused.reason == reason
    assert (journal.recorded, rig.count(anvil)) == ([], 0)


@pytest.mark.parametrize("block_time", [None, 2])
async def test_two_hundred_at_once(
    block_time: int | None, rig: Any, new_payer: Any, journal: Any, terms: PaymentRequirements
) -> None:
    with Anvil(block_time=block_time) as anvil:
        anvil.place_token()
        payer = new_payer()
        anvil.mint(payer.address, 200 * terms.amount)
        facilitator = rig.facilitator(anvil.url, settle_within=30.0)
        await facilitator.resume(SENDER, journal)
        dues = [rig.due(payer.pay(terms), terms) for _ in range(200)]
        started = time.monotonic()
        done = await asyncio.gather(*(facilitator.settle(due, journal) for due in dues))
        took = time.monotonic() - started
        assert all(isinstance(each, Settled) for each in done)
        assert (rig.transfers(anvil, terms), anvil.balance(payer.address)) == (200, 0)
        assert [each.nonce for each in journal.recorded] == list(range(200))
        assert len({each.transaction for each in done}) == 200
        assert took < 15


async def test_two_keys(anvil: Anvil, rig: Any, payer: Any, journal: Any, terms: PaymentRequirements) -> None:
    anvil.mint(payer.address, 20 * terms.amount)
    facilitator = rig.facilitator(anvil.url, keys=[OPERATOR.key, Anvil.accounts[1].key])
    plain = [rig.due(payer.pay(terms), terms) for _ in range(20)]
    dues = [replace(due, sender=facilitator.sender_for(terms.network, due.payment_id)) for due in plain]
    done = await asyncio.gather(*(facilitator.settle(due, journal) for due in dues))
    assert all(isinstance(each, Settled) for each in done)
    assert {each.sender for each in journal.recorded} == set(facilitator.senders())
    for due in dues:
        [recorded] = await journal.of(due.payment_id)
        assert recorded.sender == facilitator.sender_for(terms.network, due.payment_id)

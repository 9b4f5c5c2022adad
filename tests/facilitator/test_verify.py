"""Verification against a real chain."""

from __future__ import annotations

import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from kit.anvil import Anvil
from kit.faultproxy import FaultProxy

from facilitator.base import Accepted, InFlight, Purse, Refused, VerificationUnavailable
from facilitator.exact_evm import domain_separator
from facilitator.token_facts import is_blacklisted, native_balance, token_facts
from facilitator.wire import PaymentRequirements

STRANGER = Anvil.accounts[7].address


def purse(*in_flight: InFlight) -> Purse:
    async def claims() -> tuple[InFlight, ...]:
        return in_flight

    return Purse(sum(claim.amount for claim in in_flight), claims)


async def reason(facilitator: Any, payload: Any, terms: PaymentRequirements, *in_flight: InFlight) -> str:
    found = await facilitator.verify(payload, terms, purse(*in_flight))
    return "" if found == Accepted() else str(found.reason)


async def test_happy(anvil: Anvil, rig: Any, payer: Any, terms: PaymentRequirements) -> None:
    anvil.mint(payer.address, terms.amount)
    facilitator = rig.facilitator(anvil.url)
    for version in (1, 2):
        assert await facilitator.verify(payer.pay(terms, version=version), terms, purse()) == Accepted()


async def test_one_round_trip(anvil: Anvil, proxy: FaultProxy, rig: Any, payer: Any, terms: Any) -> None:
    anvil.mint(payer.address, terms.amount)
    facilitator = rig.facilitator(proxy.url)
    for number in range(1, 4):
        assert await facilitator.verify(payer.pay(terms), terms, purse()) == Accepted()
        assert proxy.exchanges == number


async def test_no_call_for_garbage(rig: Any, payer: Any, terms: PaymentRequirements) -> None:
    """An RPC that cannot be reached is never asked: the refusals are offline ones."""
    facilitator = rig.facilitator("http://127.0.0.1:1")
    good = payer.pay(terms)
    assert (
        await reason(facilitator, replace(good, signature=bytes(65)), terms)
        == "invalid_exact_evm_payload_signature"
    )
    assert (await reason(facilitator, payer.pay(terms, value=1), terms)).endswith("value_mismatch")
    assert (await reason(facilitator, payer.pay(terms, to="0x" + "11" * 20), terms)).endswith(
        "recipient_mismatch"
    )
    assert (await reason(facilitator, payer.pay(terms, valid_before=int(time.time()) + 5), terms)).endswith(
        "valid_before"
    )
    with pytest.raises(VerificationUnavailable):
        await facilitator.verify(good, terms, purse())


async def test_work_budget(anvil: Anvil, rig: Any, payer: Any, terms: PaymentRequirements) -> None:
    anvil.mint(payer.address, terms.amount)
    facilitator = rig.facilitator(anvil.url)
    payload = payer.pay(terms, valid_before=int(time.time()) + 60)
    assert await facilitator.verify(payload, terms, purse(), work_budget=50) == Accepted()
    late = await facilitator.verify(payload, terms, purse(), work_budget=70)
    assert isinstance(late, Refused)
    assert late.reason.endswith("valid_before")


async def test_used_nonce(
    anvil: Anvil, rig: Any, payer: Any, terms: PaymentRequirements, token_calls: SimpleNamespace
) -> None:
    anvil.mint(payer.address, 10 * terms.amount)
    payload = payer.pay(terms)
    token_calls.transfer(payload)
    assert await reason(rig.facilitator(anvil.url), payload, terms) == "invalid_exact_evm_nonce_already_used"


async def test_balance_and_claims_in_flight(
    anvil: Anvil, rig: Any, payer: Any, terms: PaymentRequirements, token_calls: SimpleNamespace
) -> None:
    anvil.mint(payer.address, 2 * terms.amount)
    facilitator = rig.facilitator(anvil.url)
    payload, other, more = (payer.pay(terms) for _ in range(3))
    one = InFlight(other.authorization.nonce, terms.amount)
    two = InFlight(more.authorization.nonce, terms.amount)
    assert await reason(facilitator, payload, terms, one) == ""
    assert await reason(facilitator, payload, terms, one, two) == "insufficient_funds"
    token_calls.transfer(other)
    assert await reason(facilitator, payload, terms, one) == "", "that claim has left the balance"
    assert await reason(facilitator, payload, terms, one, two) == "insufficient_funds"
    assert await reason(facilitator, payload, terms, two) == "insufficient_funds"


async def test_no_balance(anvil: Anvil, rig: Any, payer: Any, terms: PaymentRequirements) -> None:
    anvil.mint(payer.address, terms.amount - 1)
    assert await reason(rig.facilitator(anvil.url), payer.pay(terms), terms) == "insufficient_funds"


async def test_paused_and_blacklisted(
    anvil: Anvil, rig: Any, payer: Any, terms: PaymentRequirements, token_calls: SimpleNamespace
) -> None:
    anvil.mint(payer.address, terms.amount)
    facilitator, payload = rig.facilitator(anvil.url), payer.pay(terms)
    failed = "invalid_exact_evm_transaction_simulation_failed"
    token_calls.send("pause")
    refused = await facilitator.verify(payload, terms, purse())
    assert refused == Refused(failed, "Pausable: paused")
    token_calls.send("unpause")
    token_calls.send("blacklist", anvil_checksum(payer.address))
    refused = await facilitator.verify(payload, terms, purse())
    assert refused == Refused(failed, "Blacklistable: account is blacklisted")


def anvil_checksum(address: str) -> str:
    from web3 import Web3

    return Web3.to_checksum_address(address)


async def test_not_yet_valid(anvil: Anvil, rig: Any, payer: Any, terms: PaymentRequirements) -> None:
    anvil.mint(payer.address, terms.amount)
    payload = payer.pay(terms, valid_after=int(time.time()) + 100)
    assert (await reason(rig.facilitator(anvil.url), payload, terms)).endswith("valid_after")


async def test_no_token(anvil: Anvil, rig: Any, payer: Any, terms: PaymentRequirements) -> None:
    empty = replace(terms, asset="0x" + "11" * 20)
    assert await reason(rig.facilitator(anvil.url), payer.pay(empty), empty) == "asset_not_deployed_contract"


async def test_wrong_chain(anvil: Anvil, rig: Any, payer: Any, terms: PaymentRequirements) -> None:
    facilitator = rig.facilitator(anvil.url, chain_id=8453)
    with pytest.raises(VerificationUnavailable, match="not chain 8453"):
        await facilitator.verify(payer.pay(terms), terms, purse())


async def test_chain_down_and_back(anvil: Anvil, rig: Any, payer: Any, terms: PaymentRequirements) -> None:
    anvil.mint(payer.address, terms.amount)
    facilitator = rig.facilitator("http://127.0.0.1:1", anvil.url)
    assert await facilitator.verify(payer.pay(terms), terms, purse()) == Accepted()
    anvil.kill()
    with pytest.raises(VerificationUnavailable):
        await facilitator.verify(payer.pay(terms), terms, purse())


async def test_an_idle_chain_is_asked_for_its_pending_block(
    anvil: Anvil, rig: Any, payer: Any, terms: PaymentRequirements
) -> None:
    """Mining on demand, ``latest`` is hours old: time, and the simulation's time, come from ``pending``."""
    anvil.mint(payer.address, terms.amount)
    facilitator = rig.facilitator(anvil.url)
    facilitator.client(terms.network)._clock = lambda: time.time() + 3600
    with pytest.raises(VerificationUnavailable, match="apart"):
        await facilitator.verify(payer.pay(terms, valid_before=2**256 - 1), terms, purse())
    anvil.rpc("evm_increaseTime", 3600)
    recent = payer.pay(terms, valid_after=int(time.time()) + 3000, valid_before=int(time.time()) + 7200)
    facilitator._verifier._clock = lambda: time.time() + 3600
    assert time.time() - anvil.now() < 30
    assert await facilitator.verify(recent, terms, purse()) == Accepted()


async def test_a_chain_ahead_of_us(anvil: Anvil, rig: Any, payer: Any, terms: PaymentRequirements) -> None:
    anvil.rpc("evm_increaseTime", 20)
    anvil.mint(payer.address, terms.amount)
    facilitator = rig.facilitator(anvil.url)
    assert await facilitator.verify(payer.pay(terms), terms, purse()) == Accepted()
    ends = payer.pay(terms, valid_before=int(time.time()) + 25)
    assert (await reason(facilitator, ends, terms)).endswith("valid_before"), (
        "by the chain's clock it is too late"
    )
    anvil.rpc("evm_increaseTime", 60)
    anvil.mine()
    with pytest.raises(VerificationUnavailable):
        await facilitator.verify(payer.pay(terms), terms, purse())


async def test_what_check_online_asks(
    anvil: Anvil, rig: Any, payer: Any, terms: PaymentRequirements, token_calls: SimpleNamespace
) -> None:
    rpc = rig.facilitator(anvil.url).client(terms.network).rpc
    facts = await token_facts(rpc, terms.asset)
    assert (facts.deployed, facts.name, facts.version, facts.decimals) == (True, "USDC", "2", 6)
    assert facts.domain_separator == domain_separator("USDC", "2", 84532, terms.asset)
    assert not (await token_facts(rpc, STRANGER)).deployed
    assert (await token_facts(rpc, STRANGER)).name is None
    assert await native_balance(rpc, STRANGER) == 10_000 * 10**18
    assert await is_blacklisted(rpc, terms.asset, payer.address) is False
    token_calls.send("blacklist", anvil_checksum(payer.address))
    assert await is_blacklisted(rpc, terms.asset, payer.address) is True
    assert await is_blacklisted(rpc, STRANGER, payer.address) is None

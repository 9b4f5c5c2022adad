"""Keys with and without money for gas."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from kit.anvil import Anvil
from kit.faultproxy import FaultProxy, Lie

from facilitator.base import Settled, Unknown
from facilitator.fuel import RESERVE
from facilitator.wire import PaymentRequirements

NETWORK = "eip155:84532"
KEYS = [account.key for account in Anvil.accounts[:3]]
ADDRESSES = [account.address for account in Anvil.accounts[:3]]
SENDERS = [f"{NETWORK}:{address.lower()}" for address in ADDRESSES]
IDS = [f"pay_{number}" for number in range(60)]


def give(anvil: Anvil, address: str, wei: int) -> None:
    anvil.rpc("anvil_setBalance", address, hex(wei))


async def test_a_look(anvil: Anvil, rig: Any) -> None:
    give(anvil, ADDRESSES[1], 5 * 10**18)
    facilitator = rig.facilitator(anvil.url, keys=KEYS)
    found = await facilitator.look(NETWORK)
    assert (found.up, found.detail) == (True, "")
    assert found.balances == dict(zip(SENDERS, [10**22, 5 * 10**18, 10**22], strict=True))
    left = facilitator.fuel(NETWORK)
    assert left[SENDERS[0]] == left[SENDERS[2]] > left[SENDERS[1]] > 100


async def test_before_a_look_nothing_is_held_against_a_key(anvil: Anvil, rig: Any) -> None:
    facilitator = rig.facilitator(anvil.url, keys=KEYS)
    assert facilitator.fuel(NETWORK) == {}
    assert facilitator.ready(NETWORK)
    assert {facilitator.sender_for(NETWORK, each) for each in IDS} == set(SENDERS)


async def test_a_chain_that_is_down_is_told_and_the_balances_kept(
    anvil: Anvil, proxy: FaultProxy, rig: Any
) -> None:
    facilitator = rig.facilitator(proxy.url)
    before = await facilitator.look(NETWORK)
    proxy.refuse()
    found = await facilitator.look(NETWORK)
    assert not found.up
    assert found.detail.startswith("127.0.0.1: ")
    assert found.balances == before.balances
    assert facilitator.ready(NETWORK)


@pytest.mark.parametrize("settlements", [RESERVE, RESERVE - 1])
async def test_a_key_has_enough_for_twenty_settlements_or_none(
    settlements: int, anvil: Anvil, rig: Any
) -> None:
    facilitator = rig.facilitator(anvil.url, keys=KEYS[:1])
    await facilitator.look(NETWORK)
    price = 10**22 // facilitator.fuel(NETWORK)[SENDERS[0]] + 1
    give(anvil, ADDRESSES[0], settlements * price)
    await facilitator.look(NETWORK)
    assert facilitator.fuel(NETWORK) == {SENDERS[0]: settlements}
    assert facilitator.ready(NETWORK) == (settlements == RESERVE)


async def test_dearer_gas_makes_a_key_poorer(anvil: Anvil, rig: Any) -> None:
    give(anvil, ADDRESSES[0], 10**17)
    facilitator = rig.facilitator(anvil.url, keys=KEYS[:1])
    await facilitator.look(NETWORK)
    assert facilitator.ready(NETWORK)
    anvil.rpc("anvil_setNextBlockBaseFeePerGas", hex(60 * 10**9))
    anvil.mine()
    await facilitator.look(NETWORK)
    assert not facilitator.ready(NETWORK)


async def test_where_gas_is_free_every_key_has_enough(rig: Any) -> None:
    with Anvil(extra=["--base-fee", "0"]) as anvil, FaultProxy(anvil.url) as proxy:
        give(anvil, ADDRESSES[0], 0)
        proxy.on(Lie(lambda params, result: "0x0"), "eth_maxPriorityFeePerGas")
        facilitator = rig.facilitator(proxy.url, keys=KEYS[:1])
        await facilitator.look(NETWORK)
        assert facilitator.ready(NETWORK)


async def test_new_payments_go_to_keys_with_gas(anvil: Anvil, rig: Any) -> None:
    """The same one for the same payment while those stay; whichever there is when none has enough."""
    facilitator = rig.facilitator(anvil.url, keys=KEYS)
    give(anvil, ADDRESSES[1], 0)
    await facilitator.look(NETWORK)
    chosen = [facilitator.sender_for(NETWORK, each) for each in IDS]
    assert set(chosen) == {SENDERS[0], SENDERS[2]}
    assert chosen == [facilitator.sender_for(NETWORK, each) for each in IDS]
    assert facilitator.ready(NETWORK)
    give(anvil, ADDRESSES[0], 0)
    give(anvil, ADDRESSES[2], 10**16 // 5)
    await facilitator.look(NETWORK)
    assert 1 <= facilitator.fuel(NETWORK)[SENDERS[2]] < RESERVE
    assert {facilitator.sender_for(NETWORK, each) for each in IDS} == {SENDERS[2]}
    assert not facilitator.ready(NETWORK)
    give(anvil, ADDRESSES[2], 0)
    await facilitator.look(NETWORK)
    assert {facilitator.sender_for(NETWORK, each) for each in IDS} == set(SENDERS)


async def test_a_payment_in_an_empty_keys_queue_waits_for_gas(
    anvil: Anvil, rig: Any, payer: Any, journal: Any, terms: PaymentRequirements
) -> None:
    """It keeps its key: another one with gas does not take it, and no nonce is used up meanwhile."""
    anvil.mint(payer.address, terms.amount)
    give(anvil, ADDRESSES[0], 0)
    facilitator = rig.facilitator(anvil.url, keys=KEYS)
    await facilitator.look(NETWORK)
    due = replace(rig.due(payer.pay(terms), terms), sender=SENDERS[0])
    for _ in range(2):
        assert await facilitator.settle(due, journal) == Unknown()
    assert journal.recorded == []
    give(anvil, ADDRESSES[0], 10**18)
    done = await facilitator.settle(due, journal)
    assert done == Settled(journal.recorded[0].hash)
    assert journal.recorded[0].sender == SENDERS[0]

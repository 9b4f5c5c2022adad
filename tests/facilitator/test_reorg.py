"""Blocks that are taken back."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from kit.anvil import Anvil
from kit.faultproxy import FaultProxy, Lie

from facilitator.base import Settled, Unknown
from facilitator.wire import PaymentRequirements


@pytest.mark.usefixtures("quick")
async def test_taken_back_before_its_confirmations(
    rig: Any, payer: Any, journal: Any, terms: PaymentRequirements
) -> None:
    """chain-23, reorg: the recorded bytes go out again while the settlement waits."""
    with Anvil(extra=["--no-mining"]) as anvil:
        anvil.place_token()
        anvil.mint(payer.address, terms.amount)
        anvil.mine(5)
        facilitator = rig.facilitator(anvil.url, confirmations=3)
        settling = asyncio.create_task(facilitator.settle(rig.due(payer.pay(terms), terms), journal))
        await rig.until(lambda: rig.count(anvil, "pending") == 1)
        anvil.mine(2)
        assert rig.transfers(anvil, terms) == 1
        anvil.rpc("anvil_reorg", 2, [])
        anvil.rpc("anvil_dropAllTransactions")
        assert rig.transfers(anvil, terms) == 0
        await rig.until(lambda: rig.count(anvil, "pending") == 1)
        anvil.mine(2)
        await asyncio.sleep(0.3)
        assert not settling.done(), "two blocks are not three"
        anvil.mine()
        assert await settling == Settled(journal.recorded[0].hash)
        assert (len(journal.recorded), rig.transfers(anvil, terms)) == (1, 1)


@pytest.mark.parametrize("endpoints", [1, 2])
async def test_a_receipt_from_a_block_that_is_no_more(
    endpoints: int,
    anvil: Anvil,
    proxy: FaultProxy,
    rig: Any,
    payer: Any,
    journal: Any,
    terms: PaymentRequirements,
) -> None:
    """An endpoint still shows it; the chain has another block at that height."""
    anvil.mint(payer.address, terms.amount)
    stale = Lie(lambda params, receipt: receipt and {**receipt, "blockHash": "0x" + "11" * 32})
    proxy.on(stale, "eth_getTransactionReceipt")
    urls = [proxy.url, anvil.url][:endpoints]
    due = rig.due(payer.pay(terms), terms)
    found = await rig.facilitator(*urls, settle_within=0.5).settle(due, journal)
    assert found == Unknown(journal.recorded[0].hash)
    proxy.clear()
    assert await rig.facilitator(*urls).settle(due, journal) == Settled(found.transaction)


@pytest.mark.usefixtures("quick")
async def test_settled_transactions_that_are_taken_back_leave_no_gap(
    anvil: Anvil, rig: Any, payer: Any, journal: Any, terms: PaymentRequirements
) -> None:
    """The next settlement has them sent again, though they were closed, and its own after."""
    anvil.mint(payer.address, 4 * terms.amount)
    facilitator = rig.facilitator(anvil.url)
    before = anvil.snapshot()
    for _ in range(3):
        assert isinstance(await facilitator.settle(rig.due(payer.pay(terms), terms), journal), Settled)
    anvil.revert(before)
    assert rig.transfers(anvil, terms) == 0
    assert isinstance(await facilitator.settle(rig.due(payer.pay(terms), terms), journal), Settled)
    await rig.until(lambda: rig.transfers(anvil, terms) == 4)
    assert [each.nonce for each in journal.recorded] == [0, 1, 2, 3]

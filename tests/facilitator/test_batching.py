"""Payments that are due together settle in one transaction; each is judged by its own logs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from kit.anvil import Anvil
from kit.faultproxy import FaultProxy, Lie

from facilitator import multicall
from facilitator.base import Due, Refused, Settled
from facilitator.packing import Batches
from facilitator.wire import PaymentRequirements

OPERATOR = Anvil.accounts[0]
SENDER = f"eip155:84532:{OPERATOR.address.lower()}"
TOGETHER = Batches()


@pytest.fixture
def chain() -> Iterator[Anvil]:
    """Makes blocks only when told, and has Multicall3."""
    with Anvil(extra=["--no-mining"]) as chain:
        chain.place_token()
        chain.place_batcher()
        yield chain


def dues(rig: Any, anvil: Anvil, terms: PaymentRequirements, new_payer: Any, count: int) -> list[Due]:
    """Payments of a cent by up to five payers, one after the other."""
    payers = [new_payer() for _ in range(min(count, 5))]
    for each in payers:
        anvil.mint(each.address, 2 * count * terms.amount)
    return [rig.due(payers[number % len(payers)].pay(terms), terms) for number in range(count)]


async def settle_all(facilitator: Any, dues: list[Due], journal: Any) -> list[Any]:
    return list(await asyncio.gather(*(facilitator.settle(due, journal) for due in dues)))


async def mined_when(rig: Any, anvil: Anvil, pending: int) -> None:
    await rig.until(lambda: rig.count(anvil, "pending") == pending)
    anvil.mine()


async def test_fifty_payments_one_transaction(
    chain: Anvil, rig: Any, new_payer: Any, journal: Any, terms: PaymentRequirements
) -> None:
    facilitator = rig.facilitator(chain.url, batches=TOGETHER)
    payments = dues(rig, chain, terms, new_payer, 50)
    settling = asyncio.create_task(settle_all(facilitator, payments, journal))
    await mined_when(rig, chain, 1)
    outcomes = await settling

    [sent] = journal.recorded
    assert outcomes == [Settled(sent.hash)] * 50
    assert sent.payment_ids == tuple(due.payment_id for due in payments)
    assert rig.transfers(chain, terms) == 50
    assert journal.closed == {sent.hash} and rig.told == [True]


async def test_one_that_cannot_pay_goes_alone_and_is_refused(
    chain: Anvil, rig: Any, new_payer: Any, journal: Any, terms: PaymentRequirements
) -> None:
    facilitator = rig.facilitator(chain.url, batches=TOGETHER)
    poor = rig.due(new_payer().pay(terms), terms)
    payments = dues(rig, chain, terms, new_payer, 9)
    payments.insert(4, poor)
    settling = asyncio.create_task(settle_all(facilitator, payments, journal))
    await mined_when(rig, chain, 1)
    outcomes = await settling

    [sent] = journal.recorded
    assert isinstance(outcomes[4], Refused) and outcomes[4].reason == "insufficient_funds"
    assert outcomes.count(Settled(sent.hash)) == 9
    assert poor.payment_id not in sent.payment_ids


async def test_what_a_payer_cannot_cover_in_sum(
    chain: Anvil, rig: Any, payer: Any, journal: Any, terms: PaymentRequirements
) -> None:
    """Three cents, five payments of one: the first three, in the order they came."""
    chain.mint(payer.address, 3 * terms.amount)
    facilitator = rig.facilitator(chain.url, batches=TOGETHER)
    payments = [rig.due(payer.pay(terms), terms) for _ in range(5)]
    settling = asyncio.create_task(settle_all(facilitator, payments, journal))
    await mined_when(rig, chain, 3)
    outcomes = await settling

    batch, *alone = journal.recorded
    assert outcomes[:3] == [Settled(batch.hash)] * 3 and len(alone) == 2
    assert [each.reason for each in outcomes[3:]] == ["insufficient_funds"] * 2
    assert rig.transfers(chain, terms) == 3


async def test_a_chain_without_multicall3(
    anvil: Anvil, rig: Any, new_payer: Any, journal: Any, terms: PaymentRequirements
) -> None:
    facilitator = rig.facilitator(anvil.url, batches=TOGETHER)
    payments = dues(rig, anvil, terms, new_payer, 5)
    outcomes = await settle_all(facilitator, payments, journal)
    assert all(isinstance(each, Settled) for each in outcomes)
    assert len(journal.recorded) == 5 and rig.told == [False]


async def test_who_comes_alone_goes_alone(
    chain: Anvil, rig: Any, new_payer: Any, journal: Any, terms: PaymentRequirements
) -> None:
    """A plain transferWithAuthorization, as ever."""
    facilitator = rig.facilitator(chain.url, batches=TOGETHER)
    [due] = dues(rig, chain, terms, new_payer, 1)
    settling = asyncio.create_task(facilitator.settle(due, journal))
    await mined_when(rig, chain, 1)
    assert isinstance(await settling, Settled)
    sent = chain.rpc("eth_getTransactionByHash", journal.recorded[0].hash)
    assert sent["to"].lower() == terms.asset.lower()


async def test_together_they_need_two_thirds_of_the_gas(
    chain: Anvil, rig: Any, new_payer: Any, journal: Any, terms: PaymentRequirements
) -> None:
    facilitator = rig.facilitator(chain.url, batches=TOGETHER)
    for pending, count in ((1, 1), (2, 1), (3, 50)):
        payments = dues(rig, chain, terms, new_payer, count)
        settling = asyncio.create_task(settle_all(facilitator, payments, journal))
        await mined_when(rig, chain, pending)
        await settling
    _, alone, together = [
        int(chain.rpc("eth_getTransactionReceipt", sent.hash)["gasUsed"], 16) for sent in journal.recorded
    ]
    assert together / 50 < 0.66 * alone


@pytest.mark.parametrize("what", ["a contract of another kind", "a node that will not"])
async def test_where_it_does_not_work_out_each_goes_alone(
    what: str, chain: Anvil, rig: Any, new_payer: Any, journal: Any, terms: PaymentRequirements
) -> None:
    with FaultProxy(chain.url) as proxy:
        if what == "a contract of another kind":
            chain.rpc("anvil_setCode", multicall.ADDRESS, "0x60206000f3")
        facilitator = rig.facilitator(proxy.url, batches=TOGETHER)
        payments = dues(rig, chain, terms, new_payer, 3)
        settling = asyncio.create_task(settle_all(facilitator, payments, journal))
        if what == "a node that will not":
            proxy.on(Lie(_too_much), "eth_call")
        await mined_when(rig, chain, 3)
        assert all(isinstance(each, Settled) for each in await settling)
        assert not any(each.shared for each in journal.recorded)


def _too_much(params: Any, answer: Any) -> Any:
    """Answers no call to Multicall3."""
    return None if params[0]["to"] == multicall.ADDRESS else answer


async def test_a_second_endpoint_that_lags_is_waited_for(
    chain: Anvil, rig: Any, new_payer: Any, journal: Any, terms: PaymentRequirements
) -> None:
    """Once for all of them: nobody asks for himself."""
    with FaultProxy(chain.url) as lagging:
        lagging.on(Lie(lambda params, receipt: None), "eth_getTransactionReceipt")
        facilitator = rig.facilitator(chain.url, lagging.url, batches=TOGETHER)
        payments = dues(rig, chain, terms, new_payer, 5)
        settling = asyncio.create_task(settle_all(facilitator, payments, journal))
        await mined_when(rig, chain, 1)
        await asyncio.sleep(0.4)
        assert not settling.done()
        lagging.clear()
        assert await settling == [Settled(journal.recorded[0].hash)] * 5

"""Settlement when the chain, the journal or the purse fails in the middle of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from kit.anvil import Anvil

from facilitator.base import Outgoing, Settled, Unknown
from facilitator.wire import PaymentRequirements

OPERATOR = Anvil.accounts[0]
SENDER = f"eip155:84532:{OPERATOR.address.lower()}"


async def test_mined_late(rig: Any, payer: Any, journal: Any, terms: PaymentRequirements) -> None:
    """Unknown while no block comes; the next call finds the very same transaction."""
    with Anvil(extra=["--no-mining"]) as anvil:
        anvil.place_token()
        anvil.mint(payer.address, terms.amount)
        facilitator = rig.facilitator(anvil.url, settle_within=0.5)
        due = rig.due(payer.pay(terms), terms)
        pending = await facilitator.settle(due, journal)
        assert pending == Unknown(journal.recorded[0].hash)
        assert await facilitator.settle(due, journal) == pending
        anvil.mine()
        assert await facilitator.settle(due, journal) == Settled(pending.transaction)
        assert (len(journal.recorded), rig.count(anvil), rig.transfers(anvil, terms)) == (1, 1, 1)


async def test_dropped_from_the_pool(rig: Any, payer: Any, journal: Any, terms: PaymentRequirements) -> None:
    with Anvil(extra=["--no-mining"]) as anvil:
        anvil.place_token()
        anvil.mint(payer.address, terms.amount)
        facilitator = rig.facilitator(anvil.url, settle_within=0.5)
        due = rig.due(payer.pay(terms), terms)
        pending = await facilitator.settle(due, journal)
        anvil.rpc("anvil_dropTransaction", pending.transaction)
        assert await facilitator.settle(due, journal) == pending
        anvil.mine()
        assert await facilitator.settle(due, journal) == Settled(pending.transaction)


async def test_confirmations(rig: Any, payer: Any, journal: Any, terms: PaymentRequirements) -> None:
    with Anvil(extra=["--no-mining"]) as anvil:
        anvil.place_token()
        anvil.mint(payer.address, terms.amount)
        facilitator = rig.facilitator(anvil.url, settle_within=0.5, confirmations=3)
        due = rig.due(payer.pay(terms), terms)
        assert isinstance(await facilitator.settle(due, journal), Unknown)
        anvil.mine(2)
        assert isinstance(await facilitator.settle(due, journal), Unknown)
        anvil.mine()
        assert isinstance(await facilitator.settle(due, journal), Settled)


async def test_rpc_down_before_anything(
    rig: Any, payer: Any, journal: Any, terms: PaymentRequirements
) -> None:
    facilitator = rig.facilitator("http://127.0.0.1:1")
    assert await facilitator.settle(rig.due(payer.pay(terms), terms), journal) == Unknown(
        "", "settlement_pending"
    )
    assert journal.recorded == []


async def test_rpc_down_after_recording(
    anvil: Anvil, rig: Any, payer: Any, new_payer: Any, journal: Any, terms: PaymentRequirements
) -> None:
    """The chain is gone between the record and the send: unknown, then the recorded bytes, no gap."""
    other = new_payer()
    for each in (payer, other):
        anvil.mint(each.address, terms.amount)
    facilitator = rig.facilitator(anvil.url, settle_within=1.0)
    record, endpoints = journal.record, facilitator.client(terms.network).rpc._endpoints
    url = endpoints[0].url

    async def record_and_cut(transaction: Outgoing) -> bool:
        endpoints[0].url = "http://127.0.0.1:1"
        return bool(await record(transaction))

    journal.record = record_and_cut
    due = rig.due(payer.pay(terms), terms)
    assert await facilitator.settle(due, journal) == Unknown(journal.recorded[0].hash)
    assert rig.count(anvil) == 0
    endpoints[0].url, journal.record = url, record
    assert isinstance(await facilitator.settle(rig.due(other.pay(terms), terms), journal), Settled)
    assert await facilitator.settle(due, journal) == Settled(journal.recorded[0].hash)
    assert [each.nonce for each in journal.recorded] == [0, 1]


async def test_not_the_one_sender(
    anvil: Anvil, rig: Any, payer: Any, journal: Any, terms: PaymentRequirements
) -> None:
    anvil.mint(payer.address, terms.amount)
    facilitator = rig.facilitator(anvil.url)
    due = rig.due(payer.pay(terms), terms)
    journal.leader = False
    assert await facilitator.settle(due, journal) == Unknown()
    assert rig.count(anvil) == 0
    journal.leader = True
    assert isinstance(await facilitator.settle(due, journal), Settled)
    assert journal.recorded[0].nonce == 0, "the nonce was free again"


async def test_the_journal_fails(
    anvil: Anvil, rig: Any, payer: Any, journal: Any, terms: PaymentRequirements
) -> None:
    """A record that may or may not have happened; here it did: it is found and sent, not doubled."""
    anvil.mint(payer.address, terms.amount)
    facilitator = rig.facilitator(anvil.url)
    due, record = rig.due(payer.pay(terms), terms), journal.record

    async def record_and_fail(transaction: Outgoing) -> bool:
        await record(transaction)
        raise ConnectionError

    journal.record = record_and_fail
    with pytest.raises(ConnectionError):
        await facilitator.settle(due, journal)
    journal.record = record
    assert await facilitator.settle(due, journal) == Settled(journal.recorded[0].hash)
    assert len(journal.recorded) == 1


async def test_gas_too_dear(
    anvil: Anvil, rig: Any, payer: Any, journal: Any, terms: PaymentRequirements
) -> None:
    anvil.mint(payer.address, terms.amount)
    anvil.rpc("anvil_setNextBlockBaseFeePerGas", hex(60 * 10**9))
    anvil.mine()
    due = rig.due(payer.pay(terms), terms)
    assert await rig.facilitator(anvil.url).settle(due, journal) == Unknown()
    assert journal.recorded == []


async def test_no_money_for_gas(
    anvil: Anvil, rig: Any, payer: Any, journal: Any, terms: PaymentRequirements
) -> None:
    anvil.mint(payer.address, terms.amount)
    anvil.rpc("anvil_setBalance", OPERATOR.address, "0x0")
    facilitator, due = rig.facilitator(anvil.url), rig.due(payer.pay(terms), terms)
    assert await facilitator.settle(due, journal) == Unknown()
    assert journal.recorded == [], "it waits, and takes no nonce"
    anvil.rpc("anvil_setBalance", OPERATOR.address, hex(10**18))
    assert await facilitator.settle(due, journal) == Settled(journal.recorded[0].hash)


async def test_our_nonce_was_taken_by_somebody_with_our_key(
    anvil: Anvil, rig: Any, payer: Any, journal: Any, terms: PaymentRequirements
) -> None:
    """chain-10: ours can never be mined: a new one with the next nonce."""
    anvil.mint(payer.address, 3 * terms.amount)
    facilitator = rig.facilitator(anvil.url)
    assert isinstance(await facilitator.settle(rig.due(payer.pay(terms), terms), journal), Settled)
    anvil.rpc("eth_sendTransaction", {"from": OPERATOR.address, "to": OPERATOR.address})
    await rig.until(lambda: rig.count(anvil) == 2)
    assert isinstance(await facilitator.settle(rig.due(payer.pay(terms), terms), journal), Settled)
    assert [each.nonce for each in journal.recorded] == [0, 1, 2]
    assert journal.closed == {each.hash for each in journal.recorded}


async def test_restart_with_open_transactions(
    rig: Any, new_payer: Any, journal: Any, terms: PaymentRequirements
) -> None:
    with Anvil(extra=["--no-mining"]) as anvil:
        anvil.place_token()
        payers = [new_payer() for _ in range(4)]
        for each in payers:
            anvil.mint(each.address, terms.amount)
        dues = [rig.due(each.pay(terms), terms) for each in payers]
        before = rig.facilitator(anvil.url, settle_within=0.3)
        for due in dues[:3]:
            assert isinstance(await before.settle(due, journal), Unknown)
        for recorded in journal.recorded:
            anvil.rpc("anvil_dropTransaction", recorded.hash)
        assert rig.count(anvil, "pending") == 0
        after = rig.facilitator(anvil.url, settle_within=0.3)
        await after.resume(SENDER, journal)
        assert rig.count(anvil, "pending") == 3
        assert isinstance(await after.settle(dues[3], journal), Unknown)
        assert [each.nonce for each in journal.recorded] == [0, 1, 2, 3]
        anvil.mine()
        for due in dues:
            assert isinstance(await after.settle(due, journal), Settled)
        assert (rig.count(anvil), rig.transfers(anvil, terms)) == (4, 4)


async def test_once_public_a_failing_simulation_refuses_nothing(
    anvil: Anvil, rig: Any, payer: Any, journal: Any, terms: PaymentRequirements, token_calls: SimpleNamespace
) -> None:
    """Ours can never be mined and the token is paused; but who saw the authorization may send it later."""
    anvil.mint(payer.address, terms.amount)
    facilitator, due = rig.facilitator(anvil.url, settle_within=0.3), rig.due(payer.pay(terms), terms)
    anvil.rpc("evm_setAutomine", False)
    pending = await facilitator.settle(due, journal)
    anvil.rpc("anvil_dropAllTransactions")
    anvil.rpc("evm_setAutomine", True)
    anvil.rpc("eth_sendTransaction", {"from": OPERATOR.address, "to": OPERATOR.address})
    token_calls.send("pause")
    assert await facilitator.settle(due, journal) == pending == Unknown(journal.recorded[0].hash)
    assert journal.closed == {pending.transaction}
    token_calls.send("unpause")
    assert await facilitator.settle(due, journal) == Settled(journal.recorded[1].hash)


@pytest.mark.parametrize("blind", [1, 2], ids=["found by the lane", "found by the verdict"])
async def test_a_record_that_comes_late_is_ours_all_the_same(
    blind: int, anvil: Anvil, rig: Any, payer: Any, journal: Any, terms: PaymentRequirements
) -> None:
    """It is not there when the payment is taken up again, and goes out with its lane meanwhile: a second
    transaction may revert, but the first one paid us."""
    anvil.mint(payer.address, terms.amount)
    facilitator = rig.facilitator(anvil.url)
    due, record, of = rig.due(payer.pay(terms), terms), journal.record, journal.of

    async def record_and_fail(transaction: Outgoing) -> bool:
        await record(transaction)
        raise ConnectionError

    journal.record = record_and_fail
    with pytest.raises(ConnectionError):
        await facilitator.settle(due, journal)
    journal.record = record
    looks = [[] for _ in range(blind)]

    async def not_there_yet(payment_id: str) -> list[Outgoing]:
        return looks.pop() if looks else await of(payment_id)

    journal.of = not_there_yet

    assert await facilitator.settle(due, journal) == Settled(journal.recorded[0].hash)
    assert len(journal.recorded) == blind
    assert rig.transfers(anvil, terms) == 1

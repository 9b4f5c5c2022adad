"""A key's transactions on a chain that does not mine them: dearer, again, or no more of them."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any

import pytest
from kit.anvil import Anvil
from kit.faultproxy import FaultProxy, Feign, Lose

from facilitator.base import Outgoing, Settled, Unknown
from facilitator.rpc import RpcUnavailable
from facilitator.wire import PaymentRequirements

OPERATOR = Anvil.accounts[0]
SENDER = f"eip155:84532:{OPERATOR.address.lower()}"
GWEI = 10**9


def base_fee(anvil: Anvil, gwei: int) -> None:
    """The next block costs that much, and anvil forgets what is cheaper."""
    anvil.rpc("anvil_setNextBlockBaseFeePerGas", hex(gwei * GWEI))
    anvil.mine()


def sent(anvil: Anvil, outgoing: Outgoing) -> dict[str, Any]:
    found: dict[str, Any] = anvil.rpc("eth_getTransactionByHash", outgoing.hash)
    return found


@pytest.mark.parametrize("mined", ["the dearer", "the first"])
@pytest.mark.usefixtures("quick")
async def test_stuck_under_the_base_fee(
    mined: str, rig: Any, payer: Any, journal: Any, terms: PaymentRequirements
) -> None:
    """chain-08: same calls, same nonce, recorded before it is sent; whichever is mined has paid."""
    with Anvil(extra=["--no-mining"]) as anvil, FaultProxy(anvil.url) as proxy:
        anvil.place_token()
        anvil.mint(payer.address, terms.amount)
        facilitator, due = rig.facilitator(proxy.url), rig.due(payer.pay(terms), terms)
        recorded_first: list[bool] = []
        record = journal.record

        async def watch(transaction: Outgoing) -> bool:
            recorded_first.append(sent(anvil, transaction) is None)
            if mined == "the first" and len(recorded_first) == 2:
                proxy.on(Feign(lambda params: "0x" + "11" * 32), "eth_sendRawTransaction")
            return bool(await record(transaction))

        journal.record = watch
        settling = asyncio.create_task(facilitator.settle(due, journal))
        await rig.until(lambda: rig.count(anvil, "pending") == 1)
        first = sent(anvil, journal.recorded[0])
        base_fee(anvil, 20)
        await rig.until(lambda: len(journal.recorded) == 2)
        one, two = journal.recorded
        if mined == "the first":
            base_fee(anvil, 1)
            anvil.rpc("eth_sendRawTransaction", "0x" + one.raw.hex())
            anvil.mine()
        else:
            await rig.until(lambda: sent(anvil, two) is not None)
            second = sent(anvil, two)
            assert (second["input"], second["to"], second["nonce"]) == (
                first["input"],
                first["to"],
                first["nonce"],
            )
            for fee in ("maxFeePerGas", "maxPriorityFeePerGas"):
                assert 8 * int(second[fee], 16) >= 9 * int(first[fee], 16)
            assert 20 * GWEI <= int(second["maxFeePerGas"], 16) <= 50 * GWEI
            anvil.mine()
        assert await settling == Settled((one if mined == "the first" else two).hash)
        assert (one.nonce, one.sender, one.payment_ids) == (two.nonce, two.sender, two.payment_ids)
        assert all(recorded_first)
        assert journal.closed == {one.hash, two.hash}
        assert rig.transfers(anvil, terms) == 1


@pytest.mark.usefixtures("quick")
async def test_fees_never_rise_above_the_cap(
    rig: Any, payer: Any, journal: Any, terms: PaymentRequirements
) -> None:
    """chain-08: gas at 60 gwei, a cap of 50: it waits with its price, and is settled when that passes."""
    with Anvil(extra=["--no-mining"]) as anvil:
        anvil.place_token()
        anvil.mint(payer.address, terms.amount)
        facilitator, due = rig.facilitator(anvil.url, settle_within=1.0), rig.due(payer.pay(terms), terms)
        settling = asyncio.create_task(facilitator.settle(due, journal))
        await rig.until(lambda: rig.count(anvil, "pending") == 1)
        base_fee(anvil, 60)
        pending = await settling
        assert pending == Unknown(journal.recorded[0].hash)
        assert len(journal.recorded) == 1
        base_fee(anvil, 1)
        settling = asyncio.create_task(facilitator.settle(due, journal))
        await rig.until(lambda: rig.count(anvil, "pending") == 1)
        anvil.mine()
        assert await settling == Settled(pending.transaction)


@pytest.mark.usefixtures("quick")
async def test_no_raise_by_a_process_that_is_not_the_sender(
    rig: Any, payer: Any, journal: Any, terms: PaymentRequirements
) -> None:
    with Anvil(extra=["--no-mining"]) as anvil:
        anvil.place_token()
        anvil.mint(payer.address, terms.amount)
        facilitator, due = rig.facilitator(anvil.url, settle_within=1.0), rig.due(payer.pay(terms), terms)
        settling = asyncio.create_task(facilitator.settle(due, journal))
        await rig.until(lambda: rig.count(anvil, "pending") == 1)
        journal.leader = False
        base_fee(anvil, 20)
        assert await settling == Unknown(journal.recorded[0].hash)
        assert len(journal.recorded) == 1


@pytest.mark.usefixtures("quick")
async def test_a_stuck_transaction_nobody_waits_for(
    rig: Any, payer: Any, journal: Any, terms: PaymentRequirements
) -> None:
    """chain-08: after a restart: whoever comes next has it raised, and goes out behind it."""
    with Anvil(extra=["--no-mining"]) as anvil:
        anvil.place_token()
        anvil.mint(payer.address, 2 * terms.amount)
        gone, due = (rig.due(payer.pay(terms), terms) for _ in range(2))
        await rig.facilitator(anvil.url, settle_within=0.2).settle(gone, journal)
        base_fee(anvil, 20)
        facilitator = rig.facilitator(anvil.url, settle_within=0.2)
        deadline = time.monotonic() + 5
        while len(journal.recorded) < 3:
            assert isinstance(await facilitator.settle(due, journal), Unknown)
            assert time.monotonic() < deadline
        anvil.mine()
        assert isinstance(await facilitator.settle(due, journal), Settled)
        assert [each.nonce for each in journal.recorded] == [0, 0, 1]
        assert rig.transfers(anvil, terms) == 2


@pytest.mark.parametrize("bound", ["time", "number"])
async def test_nothing_piles_up_behind_what_is_not_mined(
    bound: str,
    rig: Any,
    payer: Any,
    journal: Any,
    terms: PaymentRequirements,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """chain-08: more of them would only wait; what was not sent is not lost."""
    monkeypatch.setattr("facilitator.lane.PATIENCE", 0.5 if bound == "time" else 60.0)
    monkeypatch.setattr("facilitator.lane.MOST", 100 if bound == "time" else 2)
    with Anvil(extra=["--no-mining"]) as anvil:
        anvil.place_token()
        anvil.mint(payer.address, 4 * terms.amount)
        facilitator = rig.facilitator(anvil.url, settle_within=0.3)
        dues = [rig.due(payer.pay(terms), terms) for _ in range(4)]
        for due in dues[:2]:
            assert isinstance(await facilitator.settle(due, journal), Unknown)
        assert await facilitator.settle(dues[2], journal) == Unknown()
        assert await facilitator.settle(dues[3], journal) == Unknown()
        assert len(journal.recorded) == 2
        anvil.mine()
        assert isinstance(await facilitator.settle(dues[2], journal), Unknown)
        assert len(journal.recorded) == 3, "there is room again"
        anvil.mine()
        for due in dues[:3]:
            assert isinstance(await facilitator.settle(due, journal), Settled)


async def test_recorded_and_never_sent(
    anvil: Anvil, rig: Any, payer: Any, journal: Any, terms: PaymentRequirements
) -> None:
    """Killed between the record and the send: the next process sends those bytes before anything else."""
    anvil.mint(payer.address, 2 * terms.amount)
    due = rig.due(payer.pay(terms), terms)
    record = journal.record

    async def record_and_die(transaction: Outgoing) -> bool:
        await record(transaction)
        raise asyncio.CancelledError

    journal.record = record_and_die
    with pytest.raises(asyncio.CancelledError):
        await rig.facilitator(anvil.url).settle(due, journal)
    journal.record = record
    assert rig.count(anvil) == 0
    after = rig.facilitator(anvil.url)
    await after.resume(SENDER, journal)
    await rig.until(lambda: rig.count(anvil) == 1)
    assert isinstance(await after.settle(rig.due(payer.pay(terms), terms), journal), Settled)
    assert await after.settle(due, journal) == Settled(journal.recorded[0].hash)
    assert [each.nonce for each in journal.recorded] == [0, 1]


async def test_the_answer_to_a_send_is_lost(
    anvil: Anvil, proxy: FaultProxy, rig: Any, payer: Any, journal: Any, terms: PaymentRequirements
) -> None:
    """Broadcast, then no reply: found by its receipt, and the next nonce is the next one."""
    anvil.mint(payer.address, 2 * terms.amount)
    facilitator = rig.facilitator(proxy.url)
    proxy.on(Lose(), "eth_sendRawTransaction")
    for number in range(2):
        done = await facilitator.settle(rig.due(payer.pay(terms), terms), journal)
        assert done == Settled(journal.recorded[number].hash)
    assert [each.nonce for each in journal.recorded] == [0, 1]


async def test_a_gap_left_by_another_life_is_filled(
    anvil: Anvil, rig: Any, payer: Any, journal: Any, terms: PaymentRequirements
) -> None:
    """A record with nonce 1, none with nonce 0, and none in the pool: new transactions take what is free."""
    anvil.mint(payer.address, 3 * terms.amount)
    stuck = rig.due(payer.pay(terms), terms)
    with Anvil(extra=["--no-mining"]) as elsewhere:
        elsewhere.place_token()
        elsewhere.mint(payer.address, terms.amount)
        elsewhere.rpc("anvil_setNonce", OPERATOR.address, "0x1")
        await rig.facilitator(elsewhere.url, settle_within=0.2).settle(stuck, journal)
    facilitator = rig.facilitator(anvil.url)
    await facilitator.resume(SENDER, journal)
    for _ in range(2):
        assert isinstance(await facilitator.settle(rig.due(payer.pay(terms), terms), journal), Settled)
    assert await facilitator.settle(stuck, journal) == Settled(journal.recorded[0].hash)
    assert [each.nonce for each in journal.recorded] == [1, 0, 2]


async def test_the_crash_point_is_reached_once_for_a_transaction(
    rig: Any, payer: Any, journal: Any, terms: PaymentRequirements, monkeypatch: pytest.MonkeyPatch
) -> None:
    """K7: after the first send, not after the same bytes went out again."""
    reached: list[tuple[str, int]] = []
    with Anvil(extra=["--no-mining"]) as anvil:
        monkeypatch.setattr(
            "facilitator.lane.reach", lambda point: reached.append((point, rig.count(anvil, "pending")))
        )
        anvil.place_token()
        anvil.mint(payer.address, terms.amount)
        facilitator, due = rig.facilitator(anvil.url, settle_within=0.2), rig.due(payer.pay(terms), terms)
        await facilitator.settle(due, journal)
        anvil.rpc("anvil_dropAllTransactions")
        await facilitator.settle(due, journal)
        assert rig.count(anvil, "pending") == 1
        assert reached == [("K7", 1)]


async def test_final_transactions_are_closed_whoever_they_paid_for(
    anvil: Anvil, rig: Any, payer: Any, journal: Any, terms: PaymentRequirements
) -> None:
    """A payment that is gone from the store closes nothing; its lane does, once that cannot change."""
    anvil.mint(payer.address, terms.amount)
    facilitator = rig.facilitator(anvil.url, finality=5)
    await facilitator.settle(rig.due(payer.pay(terms), terms), journal)
    journal.closed.clear()
    await facilitator.resume(SENDER, journal)
    assert journal.closed == set()
    anvil.mine(5)
    await facilitator.resume(SENDER, journal)
    assert journal.closed == {journal.recorded[0].hash}


async def test_what_the_chain_will_not_take_stops_the_lane(
    anvil: Anvil, rig: Any, payer: Any, journal: Any, terms: PaymentRequirements
) -> None:
    """A recorded transaction without money for its gas: nothing is added behind it."""
    anvil.mint(payer.address, terms.amount)
    facilitator, due = rig.facilitator(anvil.url, settle_within=0.3), rig.due(payer.pay(terms), terms)
    record = journal.record

    async def record_and_rob(transaction: Outgoing) -> bool:
        anvil.rpc("anvil_setBalance", OPERATOR.address, "0x0")
        return bool(await record(transaction))

    journal.record = record_and_rob
    assert await facilitator.settle(due, journal) == Unknown(journal.recorded[0].hash)
    with pytest.raises(RpcUnavailable, match="is not taken"):
        await facilitator.resume(SENDER, journal)
    anvil.rpc("anvil_setBalance", OPERATOR.address, hex(10**18))
    assert await facilitator.settle(due, journal) == Settled(journal.recorded[0].hash)


async def test_a_queue_whose_key_is_gone(
    rig: Any, payer: Any, journal: Any, terms: PaymentRequirements
) -> None:
    """What it recorded is followed without the key; what it never sent goes out from another one."""
    with Anvil(extra=["--no-mining"]) as anvil:
        anvil.place_token()
        anvil.mint(payer.address, 2 * terms.amount)
        sent_once, never_sent = (rig.due(payer.pay(terms), terms) for _ in range(2))
        await rig.facilitator(anvil.url, settle_within=0.2).settle(sent_once, journal)
        anvil.rpc("anvil_dropAllTransactions")
        other = Anvil.accounts[1]
        after = rig.facilitator(anvil.url, keys=[other.key], settle_within=0.3)
        await after.resume(SENDER, journal)
        assert rig.count(anvil, "pending") == 1
        for due in (sent_once, never_sent):
            assert isinstance(await after.settle(due, journal), Unknown)
        anvil.mine()
        for due in (sent_once, never_sent):
            assert isinstance(await after.settle(due, journal), Settled)
        assert [each.sender for each in journal.recorded] == [
            SENDER,
            f"eip155:84532:{other.address.lower()}",
        ]


async def test_each_queue_settles_from_its_own_key(
    anvil: Anvil, rig: Any, payer: Any, journal: Any, terms: PaymentRequirements
) -> None:
    anvil.mint(payer.address, 4 * terms.amount)
    facilitator = rig.facilitator(anvil.url, keys=[OPERATOR.key, Anvil.accounts[1].key])
    for sender in facilitator.senders() * 2:
        due = replace(rig.due(payer.pay(terms), terms), sender=sender)
        assert isinstance(await facilitator.settle(due, journal), Settled)
        assert journal.recorded[-1].sender == sender

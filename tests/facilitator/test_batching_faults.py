"""Batches on a chain that drops, reorders, front-runs and takes back; and processes that die with them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from kit.anvil import Anvil
from kit.faultproxy import FaultProxy, Lie

from facilitator.base import Due, Outgoing, Refused, Settled, Unknown
from facilitator.lane import Lane, Transfer
from facilitator.packing import Batches
from facilitator.rpc import RpcUnavailable
from facilitator.wire import PaymentRequirements

OPERATOR = Anvil.accounts[0]
SENDER = f"eip155:84532:{OPERATOR.address.lower()}"
TOGETHER = Batches()
GWEI = 10**9

pytestmark = pytest.mark.usefixtures("quick")


class Scene:
    """Five payments on a chain that makes blocks when told."""

    def __init__(self, chain: Anvil, rig: Any, journal: Any, terms: PaymentRequirements, payer: Any) -> None:
        self.chain, self.rig, self.journal, self.terms = chain, rig, journal, terms
        self.payer = payer
        chain.mint(payer.address, 5 * terms.amount)
        self.dues: list[Due] = [rig.due(payer.pay(terms), terms) for _ in range(5)]

    def facilitator(self, *urls: str, **more: Any) -> Any:
        return self.rig.facilitator(*(urls or (self.chain.url,)), batches=TOGETHER, **more)

    def settle(self, facilitator: Any) -> asyncio.Task[list[Any]]:
        async def all_of_them() -> list[Any]:
            settling = (facilitator.settle(due, self.journal) for due in self.dues)
            return list(await asyncio.gather(*settling, return_exceptions=True))

        return asyncio.create_task(all_of_them())

    async def pending(self, count: int = 1) -> None:
        await self.rig.until(lambda: self.rig.count(self.chain, "pending") == count)

    @property
    def moved(self) -> int:
        return int(self.rig.transfers(self.chain, self.terms))


@pytest.fixture
def scene(rig: Any, journal: Any, terms: PaymentRequirements, payer: Any) -> Any:
    with Anvil(extra=["--no-mining"]) as chain:
        chain.place_token()
        chain.place_batcher()
        yield Scene(chain, rig, journal, terms, payer)


async def test_one_is_front_run(scene: Scene) -> None:
    """A third party takes one out of the batch and sends it first: it is paid, and so are the others."""
    settling = scene.settle(scene.facilitator())
    await scene.pending()
    stolen = scene.rig.send_transfer(scene.chain, scene.dues[2].payload)
    await asyncio.sleep(0.1)
    scene.chain.mine()
    outcomes = await settling

    [batch] = scene.journal.recorded
    assert outcomes.pop(2) == Settled(stolen, recognised=True)
    assert outcomes == [Settled(batch.hash)] * 4
    assert scene.moved == 5


async def test_one_lost_its_money_on_the_way(scene: Scene, token_calls: Any) -> None:
    """It does not move with the others, and alone it would not either: refused for its own reason."""
    facilitator = scene.facilitator()
    settling = scene.settle(facilitator)
    await scene.pending()
    spent = scene.rig.send_transfer(scene.chain, scene.payer.pay(scene.terms))
    await asyncio.sleep(0.1)
    scene.chain.mine()
    outcomes = await settling

    assert spent and scene.moved == 5
    assert outcomes[:4] == [Settled(scene.journal.recorded[0].hash)] * 4
    assert isinstance(outcomes[4], Refused) and outcomes[4].reason == "insufficient_funds"
    assert len(scene.journal.recorded) == 1


@pytest.mark.parametrize("gas", [90_000, 150_000])
async def test_too_little_gas(gas: int, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reverted as a whole, or its last calls starved: nobody is refused for that; each goes alone."""
    send = Lane.send

    async def starved(self: Lane, signer: Any, journal: Any, transfer: Transfer) -> Any:
        short = replace(transfer, gas=gas) if len(transfer.payment_ids) > 1 else transfer
        return await send(self, signer, journal, short)

    monkeypatch.setattr(Lane, "send", starved)
    settling = scene.settle(scene.facilitator())
    await scene.pending()
    scene.chain.mine()
    left = 5 - scene.moved
    assert left > 2
    await scene.pending(1 + left)
    scene.chain.mine()
    outcomes = await settling

    batch, *alone = scene.journal.recorded
    assert batch.shared and len(alone) == left and not any(each.shared for each in alone)
    assert all(isinstance(each, Settled) for each in outcomes)
    assert scene.moved == 5


async def test_after_a_batch_that_failed_everybody_goes_alone_for_a_while(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    await test_too_little_gas(90_000, scene, monkeypatch)
    monkeypatch.undo()
    scene.chain.mint(scene.payer.address, 5 * scene.terms.amount)
    scene.dues = [scene.rig.due(scene.payer.pay(scene.terms), scene.terms) for _ in range(2)]
    settling = scene.settle(scene.rig.made[0])
    await scene.pending(8)
    scene.chain.mine()
    assert all(isinstance(each, Settled) for each in await settling)


async def test_dropped_from_the_pool(scene: Scene) -> None:
    """The same bytes go out again: of nobody's payment there are two."""
    settling = scene.settle(scene.facilitator())
    await scene.pending()
    scene.chain.rpc("anvil_dropAllTransactions")
    assert scene.rig.count(scene.chain, "pending") == 0
    await scene.pending()
    scene.chain.mine()
    assert await settling == [Settled(scene.journal.recorded[0].hash)] * 5
    assert (len(scene.journal.recorded), scene.moved) == (1, 5)


async def test_no_block_in_time(scene: Scene) -> None:
    """Unknown for all of them, by the hash that is out; the next call finds it."""
    facilitator = scene.facilitator(settle_within=0.5)
    outcomes = await scene.settle(facilitator)
    [batch] = scene.journal.recorded
    assert outcomes == [Unknown(batch.hash)] * 5
    scene.chain.mine()
    assert await scene.settle(facilitator) == [Settled(batch.hash)] * 5


async def test_its_fees_are_raised(scene: Scene) -> None:
    """The same calls under the same nonce, recorded for the same payments."""
    settling = scene.settle(scene.facilitator())
    await scene.pending()
    scene.chain.rpc("anvil_setNextBlockBaseFeePerGas", hex(20 * GWEI))
    scene.chain.mine()
    await scene.rig.until(lambda: len(scene.journal.recorded) == 2)
    one, two = scene.journal.recorded
    await scene.rig.until(lambda: scene.chain.rpc("eth_getTransactionByHash", two.hash) is not None)
    scene.chain.mine()
    assert await settling == [Settled(two.hash)] * 5
    assert (one.nonce, one.payment_ids) == (two.nonce, two.payment_ids)
    assert scene.journal.closed == {one.hash, two.hash} and scene.moved == 5


async def test_killed_between_the_record_and_the_send(scene: Scene) -> None:
    """What is recorded is sent by the next process, once, and settles all of them."""
    record = scene.journal.record

    async def record_and_die(transaction: Outgoing) -> bool:
        await record(transaction)
        raise asyncio.CancelledError

    scene.journal.record = record_and_die
    assert all(isinstance(each, asyncio.CancelledError) for each in await scene.settle(scene.facilitator()))
    scene.journal.record = record
    assert scene.rig.count(scene.chain, "pending") == 0
    after = scene.facilitator()
    await after.resume(SENDER, scene.journal)
    await scene.pending()
    settling = scene.settle(after)
    await asyncio.sleep(0.1)
    scene.chain.mine()
    assert await settling == [Settled(scene.journal.recorded[0].hash)] * 5
    assert (len(scene.journal.recorded), scene.moved) == (1, 5)


async def test_killed_after_the_send(scene: Scene) -> None:
    before = scene.settle(scene.facilitator())
    await scene.pending()
    before.cancel()
    settling = scene.settle(scene.facilitator())
    await asyncio.sleep(0.1)
    scene.chain.mine()
    assert await settling == [Settled(scene.journal.recorded[0].hash)] * 5
    assert (len(scene.journal.recorded), scene.moved) == (1, 5)


async def test_a_record_that_seemed_to_fail(scene: Scene) -> None:
    """It is there all the same: found, and sent once for all of them."""
    record = scene.journal.record

    async def record_and_fail(transaction: Outgoing) -> bool:
        await record(transaction)
        raise ConnectionError

    scene.journal.record = record_and_fail
    facilitator = scene.facilitator()
    assert all(isinstance(each, ConnectionError) for each in await scene.settle(facilitator))
    scene.journal.record = record
    settling = scene.settle(facilitator)
    await scene.pending()
    scene.chain.mine()
    assert await settling == [Settled(scene.journal.recorded[0].hash)] * 5
    assert len(scene.journal.recorded) == 1


async def test_a_record_that_comes_late(scene: Scene) -> None:
    """Not there yet when they are packed again, but when their lane looks: then it is the one that counts."""
    record, known = scene.journal.record, scene.journal.known
    looks = [frozenset[str]()]

    async def record_and_fail(transaction: Outgoing) -> bool:
        await record(transaction)
        raise ConnectionError

    async def not_there_yet(payment_ids: Any) -> frozenset[str]:
        return looks.pop() if looks else await known(payment_ids)

    facilitator = scene.facilitator()
    late, scene.dues = scene.dues[4], scene.dues[:4]
    scene.journal.record = record_and_fail
    await scene.settle(facilitator)
    scene.journal.record, scene.journal.known = record, not_there_yet
    scene.dues.append(late)
    settling = scene.settle(facilitator)
    await scene.pending(2)
    scene.chain.mine()
    outcomes = await settling

    first, second = scene.journal.recorded
    assert outcomes == [*[Settled(first.hash)] * 4, Settled(second.hash)]
    assert second.payment_ids == (late.payment_id,) and scene.moved == 5


async def test_not_the_one_sender(scene: Scene) -> None:
    scene.journal.leader = False
    assert await scene.settle(scene.facilitator()) == [Unknown()] * 5
    assert scene.rig.count(scene.chain, "pending") == 0


async def test_the_chain_is_gone(scene: Scene) -> None:
    """Nothing was sent, and each may be tried again."""
    facilitator = scene.facilitator()
    scene.chain.kill()
    assert await scene.settle(facilitator) == [Unknown()] * 5
    with pytest.raises(RpcUnavailable):
        await facilitator.resume(SENDER, scene.journal)


async def test_taken_back_before_its_confirmations(scene: Scene) -> None:
    scene.chain.mine(5)
    settling = scene.settle(scene.facilitator(confirmations=3))
    await scene.pending()
    scene.chain.mine(2)
    assert scene.moved == 5
    scene.chain.rpc("anvil_reorg", 2, [])
    scene.chain.rpc("anvil_dropAllTransactions")
    assert scene.moved == 0
    await scene.pending()
    scene.chain.mine(3)
    assert await settling == [Settled(scene.journal.recorded[0].hash)] * 5
    assert (len(scene.journal.recorded), scene.moved) == (1, 5)


async def test_one_endpoint_hides_a_payment_in_the_receipt(scene: Scene) -> None:
    """Two must show it: one that shows less withholds nothing for good, and nothing is sent twice."""

    def without_the_last(params: Any, receipt: Any) -> Any:
        return receipt and {**receipt, "logs": receipt["logs"][:-2]}

    with FaultProxy(scene.chain.url) as liar:
        liar.on(Lie(without_the_last), "eth_getTransactionReceipt")
        facilitator = scene.facilitator(scene.chain.url, liar.url, settle_within=2.0)
        settling = scene.settle(facilitator)
        await scene.pending()
        scene.chain.mine()
        outcomes = await settling
        [batch] = scene.journal.recorded
        assert outcomes == [*[Settled(batch.hash)] * 4, Unknown(batch.hash)]
        liar.clear()
        assert await scene.settle(facilitator) == [Settled(batch.hash)] * 5
    assert (len(scene.journal.recorded), scene.moved) == (1, 5)


async def test_one_endpoint_forges_a_batch(scene: Scene) -> None:
    """A receipt that only one of two shows delivers nothing."""
    forged: list[Any] = []

    def made_up(params: Any, receipt: Any) -> Any:
        return {**forged[0], "transactionHash": params[0]} if forged else receipt

    with FaultProxy(scene.chain.url) as liar:
        facilitator = scene.facilitator(liar.url, scene.chain.url, settle_within=1.0)
        settling = scene.settle(facilitator)
        await scene.pending()
        before = scene.chain.snapshot()
        scene.chain.mine()
        forged.append(scene.chain.rpc("eth_getTransactionReceipt", scene.journal.recorded[0].hash))
        scene.chain.revert(before)
        forged[0]["blockHash"] = scene.chain.rpc("eth_getBlockByNumber", "latest", False)["hash"]
        forged[0]["blockNumber"] = scene.chain.rpc("eth_blockNumber")
        liar.on(Lie(made_up), "eth_getTransactionReceipt")
        assert all(isinstance(each, Unknown) for each in await settling)


async def test_its_nonce_was_taken_by_somebody_with_our_key(scene: Scene) -> None:
    """The batch can never be mined: by evidence, and then each goes out again, alone."""
    settling = scene.settle(scene.facilitator())
    await scene.pending()
    scene.chain.rpc("anvil_dropAllTransactions")
    scene.chain.rpc("eth_sendTransaction", {"from": OPERATOR.address, "to": OPERATOR.address})
    scene.chain.mine()
    await scene.pending(6)
    scene.chain.mine()
    outcomes = await settling
    assert all(isinstance(each, Settled) for each in outcomes)
    assert [each.nonce for each in scene.journal.recorded] == [0, 1, 2, 3, 4, 5] and scene.moved == 5


async def test_each_key_and_each_hold_of_it_has_batches_of_its_own(scene: Scene, journal: Any) -> None:
    """Two keys work side by side; what came under another journal never travels along."""
    other = Anvil.accounts[1]
    facilitator = scene.facilitator(keys=[OPERATOR.key, other.key])
    queues = facilitator.senders()
    scene.dues = [replace(due, sender=queues[at % 2]) for at, due in enumerate(scene.dues)]
    settling = scene.settle(facilitator)
    await scene.rig.until(lambda: len(scene.journal.recorded) == 2)
    await asyncio.sleep(0.2)
    scene.chain.mine()
    outcomes = await settling
    assert all(isinstance(each, Settled) for each in outcomes) and scene.moved == 5
    assert sorted(len(each.payment_ids) for each in scene.journal.recorded) == [2, 3]
    assert {each.sender for each in scene.journal.recorded} == set(queues)

"""A chain that fails in the middle of a settlement: unknown until there is proof, settled once."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from kit.anvil import Anvil
from kit.faultproxy import BAD_GATEWAY, HTML, TOO_MANY, Delay, Error, Fault, FaultProxy, Hang, Lose, Reset
from web3 import Web3

from facilitator.base import Accepted, Due, Purse, Refused, Settled, Unknown, VerificationUnavailable
from facilitator.wire import PaymentRequirements

OPERATOR = Anvil.accounts[0]
SENDER = f"eip155:84532:{OPERATOR.address.lower()}"
SIMULATION = "invalid_exact_evm_transaction_simulation_failed"

DOWN: dict[str, Fault] = {
    "hangs": Hang(),
    "resets": Reset(),
    "429": TOO_MANY,
    "502": BAD_GATEWAY,
    "HTML": HTML,
    "loses its answers": Lose(),
}


async def no_claims() -> tuple[()]:
    return ()


NO_CLAIMS = Purse(0, no_claims)


@pytest.mark.parametrize("method", ["eth_chainId", "eth_sendRawTransaction", "eth_getTransactionReceipt"])
@pytest.mark.parametrize("fault", DOWN)
async def test_an_rpc_that_fails(
    fault: str,
    method: str,
    anvil: Anvil,
    proxy: FaultProxy,
    rig: Any,
    payer: Any,
    journal: Any,
    terms: PaymentRequirements,
) -> None:
    """chain-00: from the first call, at the send, or once it was sent."""
    anvil.mint(payer.address, terms.amount)
    rig.timeout = 0.15
    proxy.on(DOWN[fault], method)
    facilitator, due = rig.facilitator(proxy.url, settle_within=0.4), rig.due(payer.pay(terms), terms)
    pending = await facilitator.settle(due, journal)
    lost_only = (fault, method) == ("loses its answers", "eth_sendRawTransaction")
    assert pending == (Settled if lost_only else Unknown)(
        "" if method == "eth_chainId" else journal.recorded[0].hash
    )
    proxy.clear()
    done = await rig.facilitator(proxy.url, settle_within=3.0).settle(due, journal)
    assert done == Settled(journal.recorded[0].hash)
    assert (len(journal.recorded), rig.count(anvil), rig.transfers(anvil, terms)) == (1, 1, 1)


async def test_an_rpc_that_refuses_connections(
    anvil: Anvil, proxy: FaultProxy, rig: Any, payer: Any, journal: Any, terms: PaymentRequirements
) -> None:
    """chain-00: and is back while the settlement is still waiting."""
    anvil.mint(payer.address, terms.amount)
    facilitator, due = rig.facilitator(proxy.url), rig.due(payer.pay(terms), terms)
    await facilitator.resume(SENDER, journal)
    proxy.refuse()
    assert await facilitator.settle(due, journal) == Unknown()
    proxy.clear()
    proxy.on(Error("the pool is closed"), "eth_sendRawTransaction")
    settling = asyncio.create_task(facilitator.settle(due, journal))
    await rig.until(lambda: "eth_sendRawTransaction" in proxy.asked)
    proxy.refuse()
    await asyncio.sleep(0.1)
    proxy.clear()
    assert await settling == Settled(journal.recorded[0].hash)


async def test_a_chain_that_fails_under_load(
    rig: Any, payer: Any, journal: Any, terms: PaymentRequirements
) -> None:
    """chain-00, chain-23: blocks of a second, sixty payments, two keys; endpoints flap, the pool
    is emptied, answers are lost: every payment is settled, each once."""
    keys = [OPERATOR.key, Anvil.accounts[1].key]
    with Anvil(block_time=1) as anvil, FaultProxy(anvil.url) as a, FaultProxy(anvil.url) as b:
        anvil.place_token()
        anvil.mint(payer.address, 60 * terms.amount)
        facilitator = rig.facilitator(a.url, b.url, keys=keys, settle_within=5.0)
        plain = [rig.due(payer.pay(terms), terms) for _ in range(60)]
        dues = [replace(due, sender=facilitator.sender_for(terms.network, due.payment_id)) for due in plain]

        async def until_settled(due: Due) -> Settled:
            while True:
                found = await facilitator.settle(due, journal)
                if not isinstance(found, Unknown):
                    assert isinstance(found, Settled)
                    return found
                await asyncio.sleep(0.05)

        settling = [asyncio.create_task(until_settled(due)) for due in dues]
        for fault, proxy in [(Lose(), a), (TOO_MANY, b), (Reset(), a)]:
            proxy.on(fault)
            await asyncio.sleep(0.4)
            proxy.clear()
            anvil.rpc("anvil_dropAllTransactions")
            await asyncio.sleep(0.4)
        done = await asyncio.wait_for(asyncio.gather(*settling), 40)
        assert len({each.transaction for each in done}) == 60
        assert (rig.transfers(anvil, terms), anvil.balance(payer.address)) == (60, 0)


async def test_a_slow_rpc(
    anvil: Anvil, proxy: FaultProxy, rig: Any, payer: Any, journal: Any, terms: PaymentRequirements
) -> None:
    anvil.mint(payer.address, terms.amount)
    proxy.on(Delay(0.3))
    assert isinstance(
        await rig.facilitator(proxy.url).settle(rig.due(payer.pay(terms), terms), journal), Settled
    )


@pytest.mark.parametrize("answer", ["already known", "nonce too low", "replacement transaction underpriced"])
@pytest.mark.usefixtures("quick")
async def test_an_untrue_answer_to_a_send(
    answer: str,
    anvil: Anvil,
    proxy: FaultProxy,
    rig: Any,
    payer: Any,
    journal: Any,
    terms: PaymentRequirements,
) -> None:
    """chain-10, chain-11: nothing is in the pool: the recorded bytes go out again, or dearer ones."""
    anvil.mint(payer.address, terms.amount)
    facilitator, due = rig.facilitator(proxy.url), rig.due(payer.pay(terms), terms)
    proxy.on(Error(answer), "eth_sendRawTransaction")
    settling = asyncio.create_task(facilitator.settle(due, journal))
    await rig.until(lambda: proxy.asked.count("eth_sendRawTransaction") >= 2)
    proxy.clear()
    done = await settling
    assert isinstance(done, Settled)
    assert done.transaction in {each.hash for each in journal.recorded}
    assert {each.nonce for each in journal.recorded} == {0}
    assert (rig.count(anvil), rig.transfers(anvil, terms)) == (1, 1)
    assert journal.closed == {each.hash for each in journal.recorded}


@pytest.mark.usefixtures("quick")
async def test_our_nonce_is_held_by_a_dearer_transaction(
    rig: Any, payer: Any, journal: Any, terms: PaymentRequirements
) -> None:
    """chain-11: somebody with our key is in the pool before us: outbid until it gives way, settled once."""
    with Anvil(extra=["--no-mining"]) as anvil:
        anvil.place_token()
        anvil.mint(payer.address, terms.amount)
        facilitator = rig.facilitator(anvil.url)
        await facilitator.resume(SENDER, journal)
        fees = {"maxFeePerGas": hex(8 * 10**9), "maxPriorityFeePerGas": hex(2 * 10**9)}
        anvil.rpc("eth_sendTransaction", {"from": OPERATOR.address, "to": OPERATOR.address, **fees})
        settling = asyncio.create_task(facilitator.settle(rig.due(payer.pay(terms), terms), journal))
        await rig.until(lambda: len(journal.recorded) > 2 and ours_in_the_pool(anvil, journal))
        anvil.mine()
        done = await settling
        assert isinstance(done, Settled)
        assert done.transaction in {each.hash for each in journal.recorded[1:]}
        assert {each.nonce for each in journal.recorded} == {0}
        assert rig.transfers(anvil, terms) == 1


def ours_in_the_pool(anvil: Anvil, journal: Any) -> bool:
    return anvil.rpc("eth_getTransactionByHash", journal.recorded[-1].hash) is not None


@pytest.mark.parametrize("who", ["payer", "payTo"])
@pytest.mark.parametrize("when", ["before it is sent", "before it is mined"])
async def test_blacklisted_after_verification(
    who: str, when: str, rig: Any, payer: Any, journal: Any, terms: PaymentRequirements
) -> None:
    """chain-15, chain-16: refused by the simulation before anything is public, else by the receipt."""
    with Anvil(extra=["--no-mining", "--order", "fees"]) as anvil:
        anvil.place_token()
        anvil.mint(payer.address, terms.amount)
        facilitator, due = rig.facilitator(anvil.url, settle_within=4.0), rig.due(payer.pay(terms), terms)
        assert await facilitator.verify(due.payload, terms, NO_CLAIMS) == Accepted()
        account = payer.address if who == "payer" else terms.pay_to
        if when == "before it is sent":
            blacklist(anvil, account)
            anvil.mine()
        settling = asyncio.create_task(facilitator.settle(due, journal))
        if when == "before it is mined":
            await rig.until(lambda: rig.count(anvil, "pending") == 1)
            blacklist(anvil, account)
            anvil.mine()
        refused = await settling
        assert refused == Refused(SIMULATION, "Blacklistable: account is blacklisted")
        assert len(journal.recorded) == rig.count(anvil) == (when == "before it is mined")
        assert rig.transfers(anvil, terms) == 0


def blacklist(anvil: Anvil, account: str) -> None:
    from gateway.devchain.token import artefact

    contract = Web3().eth.contract(address=Web3.to_checksum_address(Anvil.token), abi=artefact()["abi"])
    data = contract.encode_abi("blacklist", [Web3.to_checksum_address(account)])
    fees = {"maxFeePerGas": hex(100 * 10**9), "maxPriorityFeePerGas": hex(90 * 10**9), "gas": hex(200_000)}
    by = Anvil.accounts[5].address
    anvil.rpc("eth_sendTransaction", {"from": by, "to": Anvil.token, "data": data, **fees})


async def test_balance_moved_after_verification(
    anvil: Anvil, rig: Any, payer: Any, journal: Any, terms: PaymentRequirements, token_calls: SimpleNamespace
) -> None:
    """chain-17: before it is sent; test_evidence.py has it moved before it is mined."""
    anvil.mint(payer.address, terms.amount)
    facilitator, due = rig.facilitator(anvil.url), rig.due(payer.pay(terms), terms)
    assert await facilitator.verify(due.payload, terms, NO_CLAIMS) == Accepted()
    token_calls.transfer(payer.pay(terms))
    refused = await facilitator.settle(due, journal)
    assert isinstance(refused, Refused)
    assert refused.reason == "insufficient_funds"
    assert journal.recorded == []


@pytest.mark.parametrize("lost", [(0,), (1,), (0, 1, 2)], ids=str)
@pytest.mark.usefixtures("quick")
async def test_a_pool_that_loses_transactions(
    lost: tuple[int, ...], rig: Any, payer: Any, journal: Any, terms: PaymentRequirements
) -> None:
    """chain-23: sent again as the same bytes while their settlements wait; no gap stays."""
    with Anvil(extra=["--no-mining"]) as anvil:
        anvil.place_token()
        anvil.mint(payer.address, 3 * terms.amount)
        facilitator = rig.facilitator(anvil.url)
        dues = [rig.due(payer.pay(terms), terms) for _ in range(3)]
        settling = [asyncio.create_task(facilitator.settle(due, journal)) for due in dues]
        await rig.until(lambda: rig.count(anvil, "pending") == 3)
        for which in lost:
            anvil.rpc("anvil_dropTransaction", journal.recorded[which].hash)
        assert rig.count(anvil, "pending") < 3
        await rig.until(lambda: rig.count(anvil, "pending") == 3)
        anvil.mine()
        assert all(isinstance(each, Settled) for each in await asyncio.gather(*settling))
        assert [each.nonce for each in journal.recorded] == [0, 1, 2]
        assert rig.transfers(anvil, terms) == 3


@pytest.mark.usefixtures("quick")
async def test_everything_in_the_pool_is_lost(
    rig: Any, payer: Any, journal: Any, terms: PaymentRequirements
) -> None:
    """chain-23: the node was restarted."""
    with Anvil(extra=["--no-mining"]) as anvil:
        anvil.place_token()
        anvil.mint(payer.address, terms.amount)
        settling = asyncio.create_task(
            rig.facilitator(anvil.url).settle(rig.due(payer.pay(terms), terms), journal)
        )
        await rig.until(lambda: rig.count(anvil, "pending") == 1)
        anvil.rpc("anvil_dropAllTransactions")
        await rig.until(lambda: rig.count(anvil, "pending") == 1)
        anvil.mine()
        assert await settling == Settled(journal.recorded[0].hash)


@pytest.mark.parametrize("outlives", [True, False], ids=["still valid then", "expired by then"])
async def test_a_sequencer_that_halts_for_half_an_hour(
    outlives: bool, rig: Any, payer: Any, journal: Any, terms: PaymentRequirements
) -> None:
    """chain-24: nothing is taken on meanwhile, what was sent is unknown, and then it is proven."""
    with Anvil(extra=["--no-mining"]) as anvil:
        anvil.place_token()
        anvil.mint(payer.address, terms.amount)
        anvil.mine()
        clock = SimpleNamespace(ahead=0)
        facilitator = rig.facilitator(anvil.url, clock=lambda: time.time() + clock.ahead, settle_within=0.5)
        valid = {"valid_before": anvil.now() + (7200 if outlives else 300)}
        due = rig.due(payer.pay(terms, **valid), terms)
        pending = await facilitator.settle(due, journal)
        assert pending == Unknown(journal.recorded[0].hash)
        clock.ahead = 1800
        with pytest.raises(VerificationUnavailable):
            await facilitator.verify(payer.pay(terms, valid_before=anvil.now() + 9000), terms, NO_CLAIMS)
        assert await facilitator.settle(due, journal) == pending
        anvil.rpc("evm_increaseTime", 1800)
        anvil.mine()
        done = await facilitator.settle(due, journal)
        if outlives:
            assert done == Settled(pending.transaction)
        else:
            assert isinstance(done, Refused)
            assert done.reason == "invalid_exact_evm_payload_authorization_valid_before"
        assert rig.transfers(anvil, terms) == outlives
        assert len(journal.recorded) == 1


@pytest.mark.parametrize("first", [True, False], ids=["the first endpoint", "the second endpoint"])
async def test_an_rpc_that_lags_twenty_blocks(
    first: bool, rig: Any, payer: Any, journal: Any, terms: PaymentRequirements
) -> None:
    """chain-04: these took less than 30 s, so that it has not seen the payment counts until it has."""
    with Anvil(extra=["--no-mining"]) as anvil, FaultProxy(anvil.url) as a, FaultProxy(anvil.url) as b:
        anvil.place_token()
        anvil.mint(payer.address, terms.amount)
        anvil.mine(25)
        (a if first else b).lag(20)
        facilitator = rig.facilitator(a.url, b.url, settle_within=1.0)
        due = rig.due(payer.pay(terms), terms)
        settling = asyncio.create_task(facilitator.settle(due, journal))
        await rig.until(lambda: rig.count(anvil, "pending") == 1)
        anvil.mine()
        pending = await settling
        assert pending == Unknown(journal.recorded[0].hash)
        assert await facilitator.settle(due, journal) == pending
        anvil.mine(20)
        assert await facilitator.settle(due, journal) == Settled(pending.transaction)
        assert (len(journal.recorded), rig.transfers(anvil, terms)) == (1, 1)


@pytest.mark.parametrize("first", [True, False], ids=["the first endpoint", "the second endpoint"])
async def test_an_rpc_that_lags_a_minute_is_passed_over(
    first: bool, rig: Any, payer: Any, journal: Any, terms: PaymentRequirements
) -> None:
    """chain-04: beyond the allowance its word is not asked: the other endpoint verifies and settles."""
    a_minute_ago = ["--timestamp", str(int(time.time()) - 60)]
    with Anvil(extra=a_minute_ago) as anvil, FaultProxy(anvil.url) as a, FaultProxy(anvil.url) as b:
        anvil.place_token()
        anvil.mint(payer.address, terms.amount)
        anvil.rpc("evm_setTime", int(time.time()))
        anvil.mine()
        facilitator, due = rig.facilitator(a.url, b.url), rig.due(payer.pay(terms), terms)
        (a if first else b).lag(2)
        assert await facilitator.verify(due.payload, terms, NO_CLAIMS) == Accepted()
        asked = len(a.asked)
        assert await facilitator.settle(due, journal) == Settled(journal.recorded[0].hash)
        assert rig.transfers(anvil, terms) == 1
        assert not first or len(a.asked) == asked, "it rests"

"""Settlement by somebody else on a real chain: honest, slow, down, lying. The balance tells."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from eth_utils import to_checksum_address
from kit.anvil import Anvil
from standins.facilitator import (
    HTML,
    HUGE,
    Behaviour,
    Exchange,
    FacilitatorServer,
    done_then,
    drip,
    hang,
    honest,
    redirect,
    reset,
    say,
    slow,
    twisted,
)

from facilitator.base import InFlight, Outgoing, Purse, Refused, Settled, Unknown, VerificationUnavailable
from facilitator.challenge import requirement_v1, requirement_v2
from facilitator.exact_evm import VALID_BEFORE
from facilitator.pins import known
from facilitator.wire import PaymentRequirements, payment_document

QUEUE = "remote:eip155:84532"
STRAY = "0x" + "ab" * 32
pytestmark = pytest.mark.usefixtures("hasty")


def failed(reason: str, transaction: str = "", **more: Any) -> dict[str, Any]:
    return {"success": False, "errorReason": reason, "transaction": transaction, **more}


def succeeded(transaction: str, **more: Any) -> dict[str, Any]:
    return {"success": True, "transaction": transaction, "network": "eip155:84532", **more}


@pytest.fixture(scope="module")
def anvil() -> Iterator[Anvil]:
    """One chain for all: every test has a payee of its own."""
    with Anvil() as chain:
        chain.place_token()
        yield chain


@pytest.fixture(scope="module")
def _there(anvil: Anvil) -> Iterator[FacilitatorServer]:
    with FacilitatorServer(anvil.url) as server:
        yield server


@pytest.fixture
def there(_there: FacilitatorServer) -> FacilitatorServer:
    """A facilitator that settles on it; honest and with an empty book of visitors."""
    _there.on("/settle", honest)
    _there.on("/verify", honest)
    _there.received.clear()
    return _there


@pytest.fixture
def terms(terms: PaymentRequirements) -> PaymentRequirements:
    return replace(terms, pay_to="0x" + os.urandom(20).hex())


@pytest.fixture
def due(anvil: Anvil, rig: Any, payer: Any, terms: PaymentRequirements) -> Any:
    anvil.mint(payer.address, terms.amount)
    return rig.due(payer.pay(terms), terms, sender=QUEUE)


AFTER: dict[str, Behaviour] = {
    "honest": honest,
    "slow": slow(0.5),
    "hangs": done_then(hang),
    "drips": done_then(drip),
    "resets": done_then(reset),
    "500": done_then(say({"error": "internal"}, 500)),
    "HTML": done_then(HTML),
    "nothing": done_then(say(b"")),
    "10 MiB": done_then(HUGE),
    "redirects": done_then(redirect),
    "says no": done_then(say(failed("insufficient_funds"))),
    "says used": done_then(say(failed("invalid_exact_evm_nonce_already_used"))),
    "says duplicate": done_then(say(failed("duplicate_settlement"))),
    "another payer": twisted(payer="0x" + "11" * 20),
    "another network": twisted(network="eip155:8453"),
    "no network": twisted(network=None),
    "a list for a network": twisted(network=["eip155:84532"]),
    "another amount": twisted(amount="1"),
    "another hash": twisted(transaction=STRAY),
    "no hash": twisted(transaction=""),
    "pending": twisted(success=False, errorReason="settlement_pending"),
    "500 and true": done_then(say(succeeded(STRAY), 500)),
}


@pytest.mark.parametrize("behaviour", AFTER.values(), ids=AFTER)
async def test_what_was_settled_is_settled_whatever_is_said(
    behaviour: Behaviour,
    anvil: Anvil,
    there: FacilitatorServer,
    remotely: Any,
    rig: Any,
    due: Any,
    journal: Any,
) -> None:
    """facilitator-01 to -17: it did settle; the same body may come again, nobody pays twice."""
    there.on("/settle", behaviour)
    facilitator = remotely(there.url, rpc=[anvil.url])
    done = await facilitator.settle(due, journal)
    assert isinstance(done, Settled)
    assert anvil.rpc("eth_getTransactionReceipt", done.transaction)["status"] == "0x1"
    assert rig.transfers(anvil, due.requirements) == 1
    assert len(set(there.bodies("/settle"))) == 1
    assert journal.closed == {each.hash for each in journal.recorded}
    assert await journal.open(QUEUE) == []


WITHOUT: dict[str, Behaviour] = {
    "lies: success": say(succeeded(STRAY)),
    "hangs": hang,
    "resets": reset,
    "500": say({"error": "internal"}, 500),
    "429": say({"error": "slow down"}, 429),
    "HTML": HTML,
    "redirects": redirect,
    "its own fault": say(failed("unexpected_settle_error")),
    "an unknown reason": say(failed("the_moon_is_full")),
    "no reason": say({"success": False}),
    "no, with a hash": say(failed("insufficient_funds", STRAY)),
    "pending": say(failed("settlement_pending", STRAY)),
    "success is a word": say(succeeded(STRAY) | {"success": "true"}),
    "simulation": say(failed("invalid_exact_evm_transaction_simulation_failed")),
    "used, which it is not": say(failed("invalid_exact_evm_nonce_already_used")),
}


@pytest.mark.parametrize("behaviour", WITHOUT.values(), ids=WITHOUT)
async def test_what_nobody_proves_is_unknown(
    behaviour: Behaviour,
    anvil: Anvil,
    there: FacilitatorServer,
    remotely: Any,
    rig: Any,
    due: Any,
    journal: Any,
) -> None:
    """Nothing moved; it is neither delivered nor refused, and it goes nowhere else: until it is settled."""
    there.on("/settle", behaviour)
    with FacilitatorServer(anvil.url) as second:
        before = remotely(there.url, second.url, rpc=[anvil.url], settle_within=0.3)
        pending = await before.settle(due, journal)
        assert isinstance(pending, Unknown)
        assert pending.transaction
        assert rig.transfers(anvil, due.requirements) == 0
        there.on("/settle", honest)
        after = remotely(second.url, there.url, rpc=[anvil.url])
        assert isinstance(await after.settle(due, journal), Settled), "also after a restart, and reordered"
        assert second.count("/settle") == 0
    assert rig.transfers(anvil, due.requirements) == 1
    assert len(set(there.bodies("/settle"))) == 1


async def test_somebody_elses_transaction_is_not_ours(
    anvil: Anvil, there: FacilitatorServer, remotely: Any, rig: Any, payer: Any, due: Any, journal: Any
) -> None:
    """facilitator-06: a real transfer to us, of the same amount, for another payment."""
    anvil.mint(payer.address, due.requirements.amount)
    other = rig.due(payer.pay(due.requirements), due.requirements, sender=QUEUE)
    facilitator = remotely(there.url, rpc=[anvil.url], settle_within=0.3)
    paid = await facilitator.settle(other, journal)
    there.on("/settle", say(succeeded(paid.transaction, payer=payer.address)))
    assert await facilitator.settle(due, journal) == Unknown(paid.transaction)
    assert [each.doubted for each in facilitator.health()] == [1]
    assert rig.transfers(anvil, due.requirements) == 1


@pytest.mark.parametrize("status", [200, 400, 412, 500])
async def test_a_refusal_in_the_specifications_words(
    status: int, anvil: Anvil, there: FacilitatorServer, remotely: Any, rig: Any, due: Any, journal: Any
) -> None:
    """facilitator-08: believed at the first try, with no transaction and an unused authorization."""
    there.on("/settle", say(failed("invalid_payment_expired", payer=""), status))
    refused = await remotely(there.url, rpc=[anvil.url]).settle(due, journal)
    assert refused == Refused(VALID_BEFORE, "the facilitator's reason")
    assert rig.transfers(anvil, due.requirements) == 0
    assert await journal.open(QUEUE) == []


async def test_a_refusal_tells_nothing_of_an_earlier_try(
    anvil: Anvil, there: FacilitatorServer, remotely: Any, due: Any, journal: Any
) -> None:
    """The balance may be gone because the first try, of which nothing was heard, took it."""
    there.on("/settle", reset, say(failed("insufficient_funds")))
    facilitator = remotely(there.url, rpc=[anvil.url], settle_within=0.3)
    assert isinstance(await facilitator.settle(due, journal), Unknown)
    assert isinstance(await facilitator.settle(due, journal), Unknown)
    assert there.count("/settle") >= 3


async def test_a_refusal_while_its_transaction_waits(
    anvil: Anvil, there: FacilitatorServer, remotely: Any, rig: Any, due: Any, journal: Any
) -> None:
    """It says no and has sent it all the same: the block is not made yet."""

    async def send_and_deny(exchange: Exchange) -> Any:
        rig.send_transfer(anvil, due.payload)
        return await say(failed("insufficient_funds"))(exchange)

    there.on("/settle", send_and_deny, say(failed("insufficient_funds")))
    facilitator = remotely(there.url, rpc=[anvil.url], settle_within=0.3)
    anvil.rpc("evm_setAutomine", False)
    try:
        assert isinstance(await facilitator.settle(due, journal), Unknown)
        anvil.mine()
    finally:
        anvil.rpc("evm_setAutomine", True)
    assert isinstance(await facilitator.settle(due, journal), Settled)
    assert rig.transfers(anvil, due.requirements) == 1


async def test_pending_then_success(
    anvil: Anvil, there: FacilitatorServer, remotely: Any, rig: Any, due: Any, journal: Any
) -> None:
    """facilitator-09: followed, with the same body; what it named is ours, whatever the clocks say."""
    there.on("/settle", say(failed("settlement_pending", STRAY)), honest)
    facilitator = remotely(there.url, rpc=[anvil.url])
    late = replace(due, claimed_at=due.claimed_at + 3600_000)
    done = await facilitator.settle(late, journal)
    assert done == Settled(done.transaction)
    assert there.count("/settle") == 2
    assert rig.transfers(anvil, due.requirements) == 1


async def test_what_was_unused_when_it_was_given_away_is_for_us(
    anvil: Anvil, there: FacilitatorServer, remotely: Any, rig: Any, due: Any, journal: Any
) -> None:
    """The answer is lost and our clock is wrong: the blocks tell that it was used after the claim. Who used
    it they do not tell, so it is ``recognised``."""
    there.on("/settle", done_then(reset))
    late = replace(due, claimed_at=due.claimed_at + 20_000)
    done = await remotely(there.url, rpc=[anvil.url]).settle(late, journal)
    assert done == Settled(done.transaction, recognised=True)
    assert rig.transfers(anvil, due.requirements) == 1


async def test_used_before_it_came_to_us_is_refused(
    anvil: Anvil, there: FacilitatorServer, remotely: Any, due: Any, journal: Any, token_calls: Any
) -> None:
    token_calls.transfer(due.payload)
    late = replace(due, claimed_at=due.claimed_at + 20_000)
    refused = await remotely(there.url, rpc=[anvil.url]).settle(late, journal)
    assert refused.reason == "invalid_exact_evm_nonce_already_used"
    assert there.count("/settle") == 0


async def test_a_small_success_is_believed(
    anvil: Anvil, there: FacilitatorServer, remotely: Any, terms: PaymentRequirements, due: Any, journal: Any
) -> None:
    """Up to ``verify_on_chain_over`` its word is enough, which bounds what a liar can cost."""
    loud = "0x" + STRAY[2:].upper()
    there.on("/settle", say(succeeded(loud, payer=due.payload.authorization.sender)))
    trusting = remotely(there.url, rpc=[anvil.url], verify_on_chain_over=terms.amount)
    assert await trusting.settle(due, journal) == Settled(STRAY)


async def test_on_to_the_next_only_where_nobody_can_have_heard(
    anvil: Anvil, there: FacilitatorServer, remotely: Any, rig: Any, due: Any, journal: Any
) -> None:
    facilitator = remotely("http://127.0.0.1:1", there.url, rpc=[anvil.url])
    done = await facilitator.settle(due, journal)
    assert isinstance(done, Settled)
    assert [each.nonce for each in journal.recorded if not known(each.hash)] == [0, 1]
    assert rig.transfers(anvil, due.requirements) == 1


async def test_down_after_a_restart_is_not_unheard(
    anvil: Anvil, there: FacilitatorServer, remotely: Any, due: Any, journal: Any
) -> None:
    """The process that pinned it is gone, and may have sent it."""
    record = journal.record

    async def record_and_die(transaction: Outgoing) -> bool:
        await record(transaction)
        raise ConnectionError

    journal.record = record_and_die
    facilitator = remotely("http://127.0.0.1:1", there.url, rpc=[anvil.url], settle_within=0.2)
    with pytest.raises(ConnectionError):
        await facilitator.settle(due, journal)
    journal.record = record
    assert isinstance(await facilitator.settle(due, journal), Unknown)
    assert there.count("/settle") == 0


async def test_nothing_is_sent_without_a_record(
    anvil: Anvil, there: FacilitatorServer, remotely: Any, due: Any, journal: Any
) -> None:
    journal.leader = False
    assert await remotely(there.url, rpc=[anvil.url]).settle(due, journal) == Unknown()
    assert await remotely(there.url).settle(due, journal) == Unknown(), "nor without the chain"
    assert there.count("/settle") == 0


async def test_two_records_for_one_payment(
    anvil: Anvil, there: FacilitatorServer, remotely: Any, due: Any, journal: Any
) -> None:
    """A record that seemed to have failed turns up before ours: it is the one that counts."""
    record = journal.record

    async def record_behind(transaction: Outgoing) -> bool:
        raw = b'{"url":"http://127.0.0.1:1","unused_at":0,"number":0}'
        await record(replace(transaction, raw=raw))
        return bool(await record(transaction))

    journal.record = record_behind
    journal.touched.add(due.payment_id)
    facilitator = remotely(there.url, rpc=[anvil.url], settle_within=0.2)
    assert isinstance(await facilitator.settle(due, journal), Unknown)
    assert there.count("/settle") == 0


async def test_what_nobody_ever_tried_is_not_looked_up(
    anvil: Anvil, there: FacilitatorServer, remotely: Any, due: Any, journal: Any
) -> None:
    """And a record that seems to have failed is looked for: it may be there all the same."""
    record, facilitator = journal.record, remotely(there.url, rpc=[anvil.url])

    async def record_and_fail(transaction: Outgoing) -> bool:
        await record(transaction)
        raise ConnectionError

    journal.record = record_and_fail
    with pytest.raises(ConnectionError):
        await facilitator.settle(due, journal)
    assert journal.read == 0
    journal.record = record
    before = remotely("http://127.0.0.1:1", there.url, rpc=[anvil.url])
    assert isinstance(await before.settle(due, journal), Settled), "by whom it was pinned to"
    assert journal.read > 0
    assert len([each for each in journal.recorded if not known(each.hash)]) == 1


async def test_what_is_settled_at_the_first_try_is_never_read(
    anvil: Anvil, there: FacilitatorServer, remotely: Any, due: Any, journal: Any
) -> None:
    """And what is recorded of it needs no care."""
    there.on("/settle", say(failed("settlement_pending", STRAY)), honest)
    assert isinstance(await remotely(there.url, rpc=[anvil.url]).settle(due, journal), Settled)
    assert journal.read == 0
    assert journal.closed == {each.hash for each in journal.recorded} >= {STRAY}


async def test_what_the_chain_refuses_goes_to_nobody(
    there: FacilitatorServer, anvil: Anvil, remotely: Any, rig: Any, payer: Any, terms: Any, journal: Any
) -> None:
    poor = rig.due(payer.pay(terms), terms, sender=QUEUE)
    refused = await remotely(there.url, rpc=[anvil.url]).settle(poor, journal)
    assert (refused.reason, journal.recorded) == ("insufficient_funds", [])
    assert there.received == []


async def test_expired_past_finality_is_refused(
    there: FacilitatorServer, remotely: Any, rig: Any, payer: Any, terms: PaymentRequirements, journal: Any
) -> None:
    """A facilitator that never says a word: the authorization's end is the end of it."""
    there.on("/settle", hang)
    with Anvil() as anvil:
        anvil.place_token()
        anvil.mint(payer.address, terms.amount)
        payload = payer.pay(terms, valid_before=anvil.now() + 20)
        due = rig.due(payload, terms, sender=QUEUE)
        facilitator = remotely(there.url, rpc=[anvil.url], settle_within=0.2, finality=2)
        assert isinstance(await facilitator.settle(due, journal), Unknown)
        anvil.rpc("evm_setNextBlockTimestamp", payload.authorization.valid_before)
        anvil.mine()
        assert isinstance(await facilitator.settle(due, journal), Unknown), "not final"
        anvil.mine(2)
        assert await facilitator.settle(due, journal) == Refused(VALID_BEFORE, "expired unused")
        assert rig.transfers(anvil, terms) == 0


@pytest.mark.parametrize("version", [1, 2])
async def test_both_versions_in_their_own_words(
    version: int,
    anvil: Anvil,
    there: FacilitatorServer,
    remotely: Any,
    rig: Any,
    payer: Any,
    terms: PaymentRequirements,
    journal: Any,
) -> None:
    """The requirements are ours and the same for both calls; the payment is the client's."""
    anvil.mint(payer.address, terms.amount)
    payload = payer.pay(terms, version=version)
    facilitator = remotely(there.url, rpc=[anvil.url])
    await facilitator.verify(payload, terms, Purse(0, claims()))
    await facilitator.settle(rig.due(payload, terms, sender=QUEUE), journal)
    [verified], [settled] = there.bodies("/verify"), there.bodies("/settle")
    assert verified == settled
    ours = requirement_v2(terms)
    if version == 1:
        ours = requirement_v1(terms, "https://shop.example/", "", "application/json")
    payment = payment_document(payload)
    authorization = payment["payload"]["authorization"]
    authorization |= {name: to_checksum_address(authorization[name]) for name in ("from", "to")}
    assert there.received[0].document == {
        "x402Version": version,
        "paymentPayload": payment,
        "paymentRequirements": ours,
    }


def claims(*in_flight: InFlight) -> Callable[[], Any]:
    async def load() -> tuple[InFlight, ...]:
        return in_flight

    return load


async def test_the_balance_beside_claims_in_flight(
    anvil: Anvil, there: FacilitatorServer, remotely: Any, payer: Any, terms: PaymentRequirements
) -> None:
    """M8: no facilitator knows of them; a claim that has left the balance already is not subtracted."""
    anvil.mint(payer.address, terms.amount)
    there.on("/verify", say({"isValid": True}))
    facilitator = remotely(there.url, rpc=[anvil.url])
    in_flight = InFlight(os.urandom(32), terms.amount)
    purse = Purse(terms.amount, claims(in_flight))
    refused = await facilitator.verify(payer.pay(terms), terms, purse)
    assert refused.reason == "insufficient_funds"
    anvil.mint(payer.address, terms.amount)
    assert not isinstance(await facilitator.verify(payer.pay(terms), terms, purse), Refused)
    with pytest.raises(VerificationUnavailable):
        await remotely(there.url).verify(payer.pay(terms), terms, purse)


async def test_a_crowd_under_every_fault(
    anvil: Anvil, there: FacilitatorServer, remotely: Any, rig: Any, new_payer: Any, terms: Any, journal: Any
) -> None:
    """Every third answer is the truth, the others are lost or wrong: each payment is settled, once."""
    lost = [done_then(reset), say({"error": "busy"}, 503), honest, done_then(HTML), redirect, honest]
    turns = iter(lost * 1000)

    async def some(exchange: Exchange) -> Any:
        return await next(turns)(exchange)

    there.on("/settle", some)
    facilitator = remotely(there.url, rpc=[anvil.url])
    payers = [new_payer() for _ in range(20)]
    for each in payers:
        anvil.mint(each.address, terms.amount)
    dues = [rig.due(each.pay(terms), terms, sender=QUEUE) for each in payers]
    started = time.monotonic()
    done = await asyncio.gather(*(facilitator.settle(due, journal) for due in dues))
    assert all(isinstance(each, Settled) for each in done), time.monotonic() - started
    assert rig.transfers(anvil, terms) == len(payers)


async def test_money_without_a_record_is_found(
    anvil: Anvil, there: FacilitatorServer, remotely: Any, due: Any, journal: Any
) -> None:
    facilitator = remotely(there.url, rpc=[anvil.url])
    assert await facilitator.find_paid(due.requirements, due.payload) is None
    done = await facilitator.settle(due, journal)
    assert await facilitator.find_paid(due.requirements, due.payload) == done.transaction

"""Payments nobody can read here: passed on as they are, to one facilitator, once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from standins.facilitator import (
    FEE_PAYER,
    SOLANA,
    SUPPORTED,
    Behaviour,
    FacilitatorServer,
    done_then,
    hang,
    honest,
    reset,
    say,
)

from facilitator.base import Accepted, Due, Purse, Refused, Settled, Unknown, VerificationUnavailable
from facilitator.pool import Patience
from facilitator.wire import OpaquePayload, PaymentRequirements

RAW = (
    '{ "payload":{"transaction":"AQAB\\u002b/=="},\r\n"x402Version" : 2, "näher": [1.50, 1e2],'
    ' "accepted":{"scheme":"exact","network":"' + SOLANA + '"} }'
).encode()
PAYLOAD = OpaquePayload(2, "exact", SOLANA, RAW)
QUICK = Patience(settle=0.4)


def purse() -> Purse:
    async def none() -> tuple[()]:
        return ()

    return Purse(0, none)


@pytest.fixture
def solana(terms: PaymentRequirements) -> PaymentRequirements:
    network = {"network": SOLANA, "chain_id": 0, "v1_network": "solana-devnet", "name": "", "version": ""}
    asset = "4zMMC9srt5Ri5X14GAgXhaHii3GnPAEERYPJgZJDncDU"
    return replace(terms, **network, asset=asset, extra={"feePayer": FEE_PAYER})


@pytest.fixture
def due(solana: PaymentRequirements) -> Due:
    return Due("pay_1", PAYLOAD, solana, 0, f"remote:{SOLANA}")


@pytest.fixture
def there() -> Iterator[FacilitatorServer]:
    with FacilitatorServer() as server:
        yield server


@pytest.mark.usefixtures("hasty")
async def test_byte_for_byte_and_once(
    there: FacilitatorServer, remotely: Any, solana: PaymentRequirements, due: Due, journal: Any
) -> None:
    facilitator = remotely(there.url, networks=[SOLANA], patience=QUICK)
    await facilitator.refresh()
    assert facilitator.senders() == ["remote:eip155:84532", f"remote:{SOLANA}"]
    assert await facilitator.verify(PAYLOAD, solana, purse()) == Accepted()
    done = await facilitator.settle(due, journal)
    assert isinstance(done, Settled)
    assert await facilitator.settle(due, journal) == done, "and the same again"
    assert list(there.book.values()) == [done.transaction]
    assert len({*there.bodies("/verify"), *there.bodies("/settle")}) == 1
    body = there.bodies("/settle")[0]
    assert b'{"x402Version":2,"paymentPayload":' + RAW + b',"paymentRequirements":{' in body
    assert there.received[-1].document["paymentRequirements"]["extra"] == {"feePayer": FEE_PAYER}
    assert await facilitator.find_paid(solana, PAYLOAD) is None


async def test_a_scheme_we_do_not_know_on_a_network_we_do(
    there: FacilitatorServer, remotely: Any, terms: PaymentRequirements, due: Due, journal: Any
) -> None:
    """The chain is there; what to look for is not."""
    answer = {"success": True, "transaction": "0xabc", "network": terms.network}
    there.on("/settle", say(answer))
    upto = replace(terms, scheme="upto")
    payload = OpaquePayload(2, "upto", terms.network, RAW)
    odd = replace(due, payload=payload, requirements=upto, sender="remote:eip155:84532")
    assert await remotely(there.url).settle(odd, journal) == Settled("0xabc")


async def test_what_is_more_than_one_object_is_not_passed_on(
    there: FacilitatorServer, remotely: Any, solana: PaymentRequirements
) -> None:
    """It would bring requirements of its own."""
    facilitator = remotely(there.url, networks=[SOLANA])
    for raw in (b'{},"paymentRequirements":{}', b"{", b"", b"[]", b'{"a":1,"a":2}'):
        refused = await facilitator.verify(replace(PAYLOAD, raw=raw), solana, purse())
        assert refused.reason == "invalid_payload"
    assert there.received == []


LOST: dict[str, Behaviour] = {
    "hangs": done_then(hang),
    "resets": done_then(reset),
    "500": done_then(say({"error": "x"}, 500)),
    "duplicate": done_then(say({"success": False, "errorReason": "duplicate_settlement", "transaction": ""})),
    "pending": done_then(say({"success": False, "errorReason": "settlement_pending", "transaction": "4abc"})),
    "another network": done_then(say({"success": True, "transaction": "4abc", "network": "solana:other"})),
    "no transaction": done_then(say({"success": True, "transaction": "", "network": SOLANA})),
    "a long one": done_then(say({"success": True, "transaction": "4" * 500, "network": SOLANA})),
}


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("behaviour", LOST.values(), ids=LOST)
async def test_asked_again_until_there_is_an_answer(
    behaviour: Behaviour, there: FacilitatorServer, remotely: Any, due: Due, journal: Any
) -> None:
    """The same body to the same facilitator: it alone knows."""
    there.on("/settle", behaviour)
    with FacilitatorServer() as second:
        facilitator = remotely(there.url, second.url, networks=[SOLANA], patience=QUICK)
        pending = await facilitator.settle(due, journal)
        assert isinstance(pending, Unknown)
        assert pending.transaction
        there.on("/settle", honest)
        reordered = remotely(second.url, there.url, networks=[SOLANA], patience=QUICK)
        assert isinstance(await reordered.settle(due, journal), Settled)
        assert second.count("/settle") == 0
    assert len(there.book) == 1
    assert len(set(there.bodies("/settle"))) == 1


@pytest.mark.usefixtures("hasty")
async def test_a_refusal_is_believed_where_it_can_be(
    there: FacilitatorServer, remotely: Any, due: Due, journal: Any
) -> None:
    """At the first try; later only where it says that the payment never was one."""
    passing = say({"success": False, "errorReason": "insufficient_funds", "transaction": ""})
    lasting = say({"success": False, "errorReason": "invalid_exact_svm_payload_memo_mismatch"})
    facilitator = remotely(there.url, networks=[SOLANA], patience=QUICK)
    there.on("/settle", passing)
    refused = await facilitator.settle(replace(due, payment_id="pay_2"), journal)
    assert refused == Refused("insufficient_funds", "the facilitator's reason")
    there.on("/settle", reset, passing)
    assert isinstance(await facilitator.settle(due, journal), Unknown)
    there.on("/settle", lasting)
    refused = await facilitator.settle(due, journal)
    assert refused == Refused("invalid_payload", "the facilitator's reason")
    assert await journal.open(due.sender) == []


async def test_a_fee_payers_payments_are_its_facilitators(
    there: FacilitatorServer, remotely: Any, solana: PaymentRequirements, due: Due, journal: Any
) -> None:
    """The client signed for the fee payer it was told of: the other facilitator could only refuse it."""
    with FacilitatorServer() as second:
        kinds = [{**SUPPORTED["kinds"][2], "extra": {"feePayer": "other"}}]
        second.supported = {"kinds": kinds}
        facilitator = remotely(second.url, there.url, networks=[SOLANA], patience=QUICK)
        await facilitator.refresh()
        assert facilitator.extra(SOLANA, "exact") == {"feePayer": "other"}
        assert await facilitator.verify(PAYLOAD, solana, purse()) == Accepted()
        assert isinstance(await facilitator.settle(due, journal), Settled)
        assert second.bodies("/verify") == second.bodies("/settle") == []
        there.on("/verify", say({}, 503))
        with pytest.raises(VerificationUnavailable):
            await facilitator.verify(PAYLOAD, solana, purse())
        assert second.count("/verify") == 0

"""Verified here, settled there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from kit.anvil import Anvil
from standins.facilitator import FEE_PAYER, SOLANA, FacilitatorServer, say

from facilitator.base import Accepted, InFlight, Purse, Refused, Settled, VerificationUnavailable
from facilitator.exact_evm import INVALID_SIGNATURE
from facilitator.hybrid import HybridFacilitator
from facilitator.verifying import Verifier
from facilitator.wire import OpaquePayload, PaymentRequirements

QUEUE = "remote:eip155:84532"


def purse(*in_flight: InFlight) -> Purse:
    async def claims() -> tuple[InFlight, ...]:
        return in_flight

    return Purse(sum(claim.amount for claim in in_flight), claims)


@pytest.fixture(scope="module")
def anvil() -> Iterator[Anvil]:
    with Anvil() as chain:
        chain.place_token()
        yield chain


@pytest.fixture
def there(anvil: Anvil) -> Iterator[FacilitatorServer]:
    with FacilitatorServer(anvil.url) as server:
        yield server


async def test_nobody_else_is_asked_whether_it_is_good(
    anvil: Anvil, there: FacilitatorServer, remotely: Any, payer: Any, terms: PaymentRequirements
) -> None:
    """A local refusal is final, a local yes is enough; no key is needed for either."""
    there.on("/verify", say({"isValid": True}))
    facilitator = remotely(there.url, rpc=[anvil.url], kind=HybridFacilitator)
    good = payer.pay(terms)
    refused = await facilitator.verify(good, terms, purse())
    assert refused.reason == "insufficient_funds"
    forged = replace(good, signature=bytes(65))
    assert (await facilitator.verify(forged, terms, purse())).reason == INVALID_SIGNATURE
    anvil.mint(payer.address, terms.amount)
    assert await facilitator.verify(good, terms, purse()) == Accepted()
    assert isinstance(
        await facilitator.verify(good, terms, purse(InFlight(bytes(32), terms.amount))), Refused
    )
    assert there.received == []


async def test_settled_there(
    anvil: Anvil, there: FacilitatorServer, remotely: Any, rig: Any, payer: Any, terms: Any, journal: Any
) -> None:
    anvil.mint(payer.address, terms.amount)
    facilitator = remotely(there.url, rpc=[anvil.url], kind=HybridFacilitator)
    before = rig.transfers(anvil, terms)
    due = rig.due(payer.pay(terms), terms, sender=facilitator.sender_for(terms.network, "pay_1"))
    assert isinstance(await facilitator.settle(due, journal), Settled)
    assert rig.transfers(anvil, terms) == before + 1
    assert there.count("/verify") == 0
    assert there.count("/settle") == 1
    assert facilitator.senders() == [QUEUE]


async def test_what_is_not_evm_is_verified_there(
    there: FacilitatorServer, remotely: Any, terms: PaymentRequirements
) -> None:
    facilitator = remotely(there.url, networks=[SOLANA], kind=HybridFacilitator)
    solana = replace(terms, network=SOLANA, name="", version="", extra={"feePayer": FEE_PAYER})
    assert await facilitator.verify(OpaquePayload(2, "exact", SOLANA, b"{}"), solana, purse()) == Accepted()
    assert there.count("/verify") == 1


async def test_it_is_as_ready_as_those_who_settle(
    anvil: Anvil, there: FacilitatorServer, remotely: Any, payer: Any, terms: PaymentRequirements
) -> None:
    facilitator = remotely(there.url, rpc=[anvil.url], kind=HybridFacilitator)
    assert facilitator.ready(terms.network)
    [remote] = facilitator.pool._remotes.values()
    for _ in range(5):
        remote.breaker.failed()
    assert not facilitator.ready(terms.network)
    assert (await facilitator.look(terms.network)).up
    blind = remotely(there.url, kind=HybridFacilitator)
    assert not (await blind.look(terms.network)).up
    with pytest.raises(VerificationUnavailable):
        await blind.verify(payer.pay(terms), terms, purse())


async def test_the_verifier_needs_no_sender(
    anvil: Anvil, rig: Any, payer: Any, terms: PaymentRequirements
) -> None:
    anvil.mint(payer.address, terms.amount)
    client = rig.facilitator(anvil.url).client(terms.network)
    verifier = Verifier({terms.network: client}, client._clock)
    assert await verifier.verify(payer.pay(terms), terms, purse(), 0) == Accepted()

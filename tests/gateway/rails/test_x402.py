"""The laws every rail keeps, on the x402 rail."""

from __future__ import annotations

import time
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kit.accounts import new_account
from kit.answers import decoded
from kit.payments import sign_payment

from facilitator.base import (
    Accepted,
    Due,
    Journal,
    Purse,
    Refused,
    Settled,
    Settlement,
    VerificationUnavailable,
)
from facilitator.wire import PaymentPayload, PaymentRequirements
from gateway.payment import Payment, State
from gateway.rails.base import Credential, MalformedCredential, OtherClaims, Outcome, Quote, Refusal, Wanted
from gateway.rails.x402 import X402Rail
from policies.money import Dollars, Money
from policies.route import Terms

TERMS = PaymentRequirements(
    scheme="exact",
    network="eip155:84532",
    chain_id=84532,
    v1_network="base-sepolia",
    asset="0x036CbD53842c5426634e7929541eC2318f3dCF7e",
    amount=10_000,
    pay_to="0x209693Bc6afc0C5328bA36FaF03C514EF312287C",
    max_timeout=300,
    name="USDC",
    version="2",
)
QUOTE = Quote(Dollars(Decimal("0.01")), "https://api.example/paid", "a thing", "text/plain", 30.0)
WANTED = Wanted(QUOTE, "/paid", b"", None)
CHEAPER = Quote(Dollars(Decimal("0.005")), QUOTE.resource, "", "", 30.0)


def offers(money: Money, terms: Terms | None = None) -> Sequence[PaymentRequirements]:
    from dataclasses import replace

    assert isinstance(money, Dollars)
    return (replace(TERMS, amount=int(money.value * 10**6)),)


class RecordingFacilitator:
    """Settles each payment id once, whatever it is asked; remembers the terms it saw."""

    def __init__(self) -> None:
        self.verified: list[tuple[PaymentRequirements, int, int]] = []
        self.transfers: dict[str, PaymentRequirements] = {}
        self.gas = True
        self.told: dict[str, Any] = {}

    def ready(self, network: str) -> bool:
        return self.gas

    def extra(self, network: str, scheme: str) -> dict[str, Any]:
        return self.told

    def senders(self) -> list[str]:
        return ["eip155:84532:0xsender"]

    def sender_for(self, network: str, payment_id: str) -> str:
        return self.senders()[0]

    async def verify(
        self,
        payload: PaymentPayload,
        requirements: PaymentRequirements,
        purse: Purse,
        *,
        work_budget: int = 0,
    ) -> Accepted | Refused:
        self.verified.append((requirements, purse.spoken_for, work_budget))
        return Accepted()

    async def settle(self, due: Due, journal: Journal) -> Settlement:
        self.transfers.setdefault(due.payment_id, due.requirements)
        return Settled("0x" + due.payment_id[-8:])


@pytest.fixture
def facilitator() -> RecordingFacilitator:
    return RecordingFacilitator()


@pytest.fixture
def rail(facilitator: RecordingFacilitator) -> X402Rail:
    return X402Rail(
        offers,
        facilitator,  # type: ignore[arg-type]
        versions=frozenset({1, 2}),
        settle_within={"eip155:84532": 30.0},
        worth=lambda terms: terms.amount,
    )


def credential(rail: X402Rail, version: int = 2, quote: Quote = QUOTE, **changes: Any) -> Credential:
    payment = signed(rail, version, quote, **changes)
    (header, value), *_ = payment.headers.items()
    read = rail.read(header, value, [QUOTE], None)
    assert isinstance(read, Credential), read
    return read


def signed(rail: X402Rail, version: int, quote: Quote = QUOTE, **changes: Any) -> Any:
    challenge = rail.challenge(quote, "payment_required")
    assert challenge is not None
    accepts = (
        challenge.body["accepts"]
        if version == 1
        else dict(challenge.documents)[b"PAYMENT-REQUIRED"]["accepts"]
    )
    return sign_payment(new_account().key, accepts[0], version, **changes)


def payment_of(credential: Credential) -> Payment:
    return Payment(
        id="pay_" + "0" * 32,
        state=State.SETTLING,
        fence=1,
        attempts=1,
        digest="d",
        rail="x402",
        route="r",
        payer=credential.payer,
        amount=credential.amount,
        asset=credential.asset,
        network=credential.network,
        queue=credential.queue,
        terms=credential.terms,
        expires_at=credential.expires_at,
        idempotency_key=None,
        created_at=0,
        updated_at=0,
        leased_until=0,
        read_at=0,
    )


async def test_what_the_facilitator_wants_told_is_told_and_recorded(
    facilitator: RecordingFacilitator,
) -> None:
    offered = (TERMS,)
    rail = X402Rail(
        lambda money, terms: offered,
        facilitator,  # type: ignore[arg-type]
        versions=frozenset({1, 2}),
        settle_within={"eip155:84532": 30.0},
        worth=lambda terms: terms.amount,
    )
    for told in ({"memo": "one"}, {"memo": "another"}, {}):
        facilitator.told = told
        challenge = rail.challenge(QUOTE, "payment_required")
        assert challenge is not None and told.items() <= challenge.body["accepts"][0]["extra"].items()
        for _ in range(2):
            await rail.verify(credential(rail), OtherClaims(0, _none), WANTED)
            assert facilitator.verified[-1][0].extra == told


async def _none() -> Sequence[Payment]:
    return []


@pytest.mark.parametrize("version", [1, 2])
def test_a_challenge_round_trips(rail: X402Rail, version: int) -> None:
    read = credential(rail, version)
    assert (read.amount, read.asset, read.network) == (10_000, TERMS.asset.lower(), TERMS.network)
    assert read.refused is None and read.queue in rail.queues


def test_both_versions_of_one_authorization_are_one_payment(rail: X402Rail) -> None:
    payment = signed(rail, 2)
    other = signed(rail, 1)
    other.authorization, other.signature = payment.authorization, payment.signature
    keys = set()
    for each in (payment, other):
        (header, value), *_ = each.headers.items()
        read = rail.read(header, value, [QUOTE], None)
        assert isinstance(read, Credential)
        keys.add(read.replay_key)
    assert len(keys) == 1 and keys == {key.lower() for key in keys}


@given(st.text(max_size=60))
def test_garbage_is_the_clients_fault(text: str) -> None:
    rail = X402Rail(
        offers,
        RecordingFacilitator(),  # type: ignore[arg-type]
        versions=frozenset({1, 2}),
        settle_within={"eip155:84532": 30.0},
        worth=lambda terms: terms.amount,
    )
    with pytest.raises(MalformedCredential):
        rail.read("PAYMENT-SIGNATURE", text, [QUOTE], None)


def test_another_price_is_refused_but_keeps_its_replay_key(rail: X402Rail) -> None:
    """A record of it is answered all the same: only a new claim is refused."""
    read = credential(rail, 2, CHEAPER)
    assert read.refused is not None and read.refused.reason == "invalid_payment_requirements"


def test_a_price_quoted_before_is_good_beside_todays(rail: X402Rail) -> None:
    (header, value), *_ = signed(rail, 2, CHEAPER).headers.items()
    read = rail.read(header, value, [QUOTE, CHEAPER], None)
    assert isinstance(read, Credential) and read.refused is None and read.amount == 5_000


def test_an_authorization_must_outlive_the_work(rail: X402Rail) -> None:
    late = credential(rail, validBefore=int(time.time()) + 50)
    assert late.refused is not None
    assert late.refused.reason == "invalid_exact_evm_payload_authorization_valid_before"


def test_a_forged_signature_is_refused_for_a_stable_reason(rail: X402Rail) -> None:
    payment = signed(rail, 2)
    payment.authorization["from"] = new_account().address
    read = rail.read("PAYMENT-SIGNATURE", payment.headers["PAYMENT-SIGNATURE"], [QUOTE], None)
    assert read == Refusal("invalid_exact_evm_payload_signature")


async def test_verified_settled_and_quoted_terms_are_the_same(
    rail: X402Rail, facilitator: RecordingFacilitator
) -> None:
    read = credential(rail)

    async def none() -> list[Payment]:
        return []

    assert await rail.verify(read, OtherClaims(7, none), WANTED) is None
    await rail.settle(payment_of(read), None)  # type: ignore[arg-type]
    ((verified, spoken_for, budget),) = facilitator.verified
    (settled,) = facilitator.transfers.values()
    assert verified == settled == offers(QUOTE.money)[0]
    assert (spoken_for, budget) == (7, 60)


async def test_settling_twice_has_one_effect(rail: X402Rail, facilitator: RecordingFacilitator) -> None:
    payment = payment_of(credential(rail))
    first = await rail.settle(payment, None)  # type: ignore[arg-type]
    assert await rail.settle(payment, None) == first  # type: ignore[arg-type]
    assert len(facilitator.transfers) == 1


@pytest.mark.parametrize(
    ("version", "header", "network"),
    [(1, b"X-PAYMENT-RESPONSE", "base-sepolia"), (2, b"PAYMENT-RESPONSE", "eip155:84532")],
)
def test_a_receipt_speaks_the_credentials_language(
    rail: X402Rail, version: int, header: bytes, network: str
) -> None:
    read = credential(rail, version)
    ((name, value),) = rail.receipt(read.terms, Outcome("0xabc"))
    assert name == header
    assert decoded(value.decode()) == {
        "success": True,
        "payer": read.payer,
        "transaction": "0xabc",
        "network": network,
    }
    ((_, value),) = rail.receipt(read.terms, Outcome(reason="settlement_pending"))
    failed = decoded(value.decode())
    assert failed["success"] is False and failed["errorReason"] == "settlement_pending"


def test_a_v1_only_rail_sends_no_v2_header(facilitator: RecordingFacilitator) -> None:
    rail = X402Rail(
        offers,
        facilitator,  # type: ignore[arg-type]
        versions=frozenset({1}),
        settle_within={"eip155:84532": 30.0},
        worth=lambda terms: terms.amount,
    )
    challenge = rail.challenge(QUOTE, "payment_required")
    assert challenge is not None and rail.headers == ("X-PAYMENT",) and not challenge.documents


async def test_without_gas_nothing_is_offered_and_nothing_verified(
    rail: X402Rail, facilitator: RecordingFacilitator
) -> None:
    """What could not be settled must not be worked for."""
    mine = credential(rail)
    facilitator.gas = False
    assert rail.challenge(QUOTE, "payment_required") is None

    async def nothing() -> list[Payment]:
        return []

    with pytest.raises(VerificationUnavailable, match="settled there"):
        await rail.verify(mine, OtherClaims(0, nothing), WANTED)
    assert facilitator.verified == []


def test_a_deferred_receipt_is_a_promise(rail: X402Rail) -> None:
    ((_, value),) = rail.receipt(credential(rail).terms, Outcome(promised="pay_1"))
    told = decoded(value.decode())
    assert told["success"] is True and told["transaction"] == ""
    assert told["extra"] == {"settlement": "deferred", "paymentId": "pay_1"}

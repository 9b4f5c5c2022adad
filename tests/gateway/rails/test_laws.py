"""The laws every rail keeps."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol

import pytest
from kit.accounts import new_account
from kit.payments import sign_payment
from pydantic import SecretStr
from standins.conxa import ConxaServer

from facilitator.base import Accepted, Refused, Settled
from facilitator.http1.client import Client
from facilitator.wire import PaymentRequirements
from gateway.conxa.connections import Mint
from gateway.conxa.parts import conxa_parts
from gateway.observe import Metrics
from gateway.payment import Payment, State
from gateway.rails.base import Credential, MalformedCredential, OtherClaims, Outcome, Quote, Rail, Wanted
from gateway.rails.x402 import X402Rail
from gateway.settings import Conxa, Server
from gateway.store.connect import open_store
from policies.money import Dollars
from policies.route import Metering

QUOTE = Quote(
    Dollars(Decimal("0.01")),
    "https://api.example/paid",
    "a thing",
    "text/plain",
    30.0,
    Metering("flat", "flat", input_tokens=10),
)
WANTED = Wanted(QUOTE, "/paid", b"{}", None)


class Bench(Protocol):
    """A rail with somebody to pay by it."""

    rail: Rail

    async def pay(self) -> tuple[str, str]:
        """Header and value of a good payment, made of the rail's own challenge."""

    def moved(self) -> int:
        """How often money moved."""


class X402Bench:
    """A facilitator that settles each payment id once."""

    def __init__(self) -> None:
        self.transfers: set[str] = set()
        terms = PaymentRequirements(
            "exact",
            "eip155:84532",
            84532,
            "base-sepolia",
            "0x036CbD53842c5426634e7929541eC2318f3dCF7e",
            10_000,
            "0x209693Bc6afc0C5328bA36FaF03C514EF312287C",
            300,
            "USDC",
            "2",
        )
        self.rail: Rail = X402Rail(
            lambda money, own: (terms,),
            self,  # type: ignore[arg-type]
            versions=frozenset({1, 2}),
            settle_within={"eip155:84532": 30.0},
            worth=lambda terms: terms.amount,
        )

    def ready(self, network: str) -> bool:
        return True

    def extra(self, network: str, scheme: str) -> dict[str, Any]:
        return {}

    def senders(self) -> list[str]:
        return ["sender"]

    def sender_for(self, network: str, payment_id: str) -> str:
        return "sender"

    async def verify(self, *_: object, **__: object) -> Accepted | Refused:
        return Accepted()

    async def settle(self, due: Any, journal: object) -> Settled:
        self.transfers.add(due.payment_id)
        return Settled("0x1")

    async def pay(self) -> tuple[str, str]:
        challenge = self.rail.challenge(QUOTE, "payment_required")
        assert challenge is not None
        offer = dict(challenge.documents)[b"PAYMENT-REQUIRED"]["accepts"][0]
        ((header, value),) = sign_payment(new_account().key, offer).headers.items()
        return header, value

    def moved(self) -> int:
        return len(self.transfers)


class ConxaBench:
    """The stand-in, and a wallet that is connected to it."""

    def __init__(self, server: ConxaServer, rail: Rail) -> None:
        self._server = server
        self.rail = rail

    async def pay(self) -> tuple[str, str]:
        challenge = self.rail.challenge(QUOTE, "payment_required")
        assert challenge is not None
        made = Mint(self._server.api_key).make(2_000_000_000, lifetime=900, size=300, limit=None)
        provider, name = challenge.how["provider_id"], made.username
        said = f'{{"provider_id":"{provider}","provider_type":"api","provider_username":"{name}"}}'
        self._server.scan(said, self._server.wallet(1000))
        return challenge.how["header"], made.id

    def moved(self) -> int:
        return len(self._server.charges())


@pytest.fixture(params=["x402", "conxa"])
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    if request.param == "x402":
        yield X402Bench()
        return
    async with AsyncExitStack() as stack:
        server = stack.enter_context(ConxaServer())
        client = stack.enter_context(Client())
        store = open_store("embedded", tmp_path, 60, 1000, 3000)
        await store.open()
        stack.push_async_callback(store.close)
        key = SecretStr(server.api_key)
        configured = Conxa(server.url, key, "acme", "api", True, 5.0, 5.0, 10.0)
        parts = conxa_parts(configured, client, store, Metrics("1"), Server(), "tollway-1")
        yield ConxaBench(server, parts.rail)


async def read(bench: Bench, key: str | None = None) -> Credential:
    header, value = await bench.pay()
    credential = bench.rail.read(header, value, [QUOTE], key)
    assert isinstance(credential, Credential), credential
    return credential


async def nobody() -> list[Payment]:
    return []


async def payment(bench: Bench, credential: Credential) -> Payment:
    """Verified, measured, served and taken up."""
    assert await bench.rail.verify(credential, OtherClaims(0, nobody), WANTED) is None
    measure = await bench.rail.measure(credential, WANTED)
    measure.begin("application/json", "")
    assert measure.feed(b"{}") + measure.end() == b"{}"
    return Payment(
        id="pay_" + "0" * 32,
        state=State.SETTLING,
        fence=1,
        attempts=1,
        digest="d",
        rail=credential.rail,
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
        updated_at=5,
        leased_until=0,
        read_at=5,
        history=((State.SETTLING, 5),),
        note=measure.note() or b"",
    )


async def test_what_a_challenge_asks_for_is_a_credential(bench: Bench) -> None:
    credential = await read(bench)
    assert credential.rail == bench.rail.name and credential.queue in bench.rail.queues
    assert credential.refused is None and credential.worth > 0


async def test_garbage_is_the_clients_fault(bench: Bench) -> None:
    for header in bench.rail.headers:
        for value in ("", "\x00", "é" * 5000, "\r\nX: 1"):
            with pytest.raises(MalformedCredential):
                bench.rail.read(header, value, [QUOTE], None)


async def test_the_replay_key_is_the_rails_own_and_no_secret(bench: Bench) -> None:
    header, value = await bench.pay()
    keys = {bench.rail.read(header, value, [QUOTE], "mine").replay_key for _ in range(3)}  # type: ignore[union-attr]
    assert len(keys) == 1 and value not in keys.pop()


async def test_settling_twice_has_one_effect(bench: Bench) -> None:
    due = await payment(bench, await read(bench))
    outcomes = [await bench.rail.settle(due, None) for _ in range(3)]  # type: ignore[arg-type]
    assert all(isinstance(each, Settled) for each in outcomes) and bench.moved() == 1


async def test_receipts_and_records_tell_no_secret(bench: Bench) -> None:
    header, value = await bench.pay()
    credential = bench.rail.read(header, value, [QUOTE], "mine")
    assert isinstance(credential, Credential) and value not in repr(credential)
    settled = await bench.rail.settle(await payment(bench, credential), None)  # type: ignore[arg-type]
    assert isinstance(settled, Settled)
    outcomes = [
        Outcome(settled.transaction, settled.note or b""),
        Outcome(reason="settlement_pending"),
        Outcome(promised="pay_1"),
    ]
    for outcome in outcomes:
        for _, told in bench.rail.receipt(credential.terms, outcome):
            assert value.encode() not in told and b"ps_" not in told

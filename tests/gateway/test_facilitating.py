"""Other people's payments in a real store, with a facilitator whose chain is scripted."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from kit.anvil import Anvil
from kit.facilitator import asking, requirement
from kit.payments import sign_payment
from kit.stores import step

from facilitator.asked import Reader, Served, Token
from facilitator.base import (
    Accepted,
    Due,
    Journal,
    Outgoing,
    Purse,
    Refused,
    Settled,
    Settlement,
    Unknown,
    VerificationUnavailable,
)
from facilitator.wire import PaymentPayload, PaymentRequirements
from gateway.errors import StoreUnavailable
from gateway.facilitating import ROUTE, StoreSettlements
from gateway.leases import Leases
from gateway.observe import Metrics
from gateway.payment import State
from gateway.presence import Presence
from gateway.rails.x402 import X402Rail
from gateway.settlement import Settler
from gateway.store import Store
from gateway.store.connect import open_store

PAYEE = "0x209693Bc6afc0C5328bA36FaF03C514EF312287C"
SENDER = "eip155:84532:0x" + "5e" * 20
HASH = "0x" + "ab" * 32
NONCE_USED = "invalid_exact_evm_nonce_already_used"
FUNDS = Refused("insufficient_funds")
Asked = tuple[PaymentPayload, PaymentRequirements]
SERVED = Served("eip155:84532", 84532, "base-sepolia", {Anvil.token.lower(): Token(Anvil.token, "USDC", "2")})


class Scripted:
    """Verifies and settles as told; what it settles it sends first, unless ``sends`` says otherwise."""

    def __init__(self) -> None:
        self.verdict: Accepted | Refused | Exception = Accepted()
        self.outcomes: list[Settlement] = [Settled(HASH)]
        self.sends = True
        self.settled = 0
        self.purses: list[int] = []
        self.gate = asyncio.Event()
        self.gate.set()

    def senders(self) -> list[str]:
        return [SENDER]

    def sender_for(self, network: str, payment_id: str) -> str:
        return SENDER

    def at_once(self, sender: str) -> int:
        return 128

    def ready(self, network: str) -> bool:
        return True

    async def verify(
        self, payload: PaymentPayload, terms: PaymentRequirements, purse: Purse, **limits: int
    ) -> Accepted | Refused:
        self.purses.append(purse.spoken_for)
        await self.gate.wait()
        if isinstance(self.verdict, Exception):
            raise self.verdict
        return self.verdict

    async def settle(self, due: Due, journal: Journal) -> Settlement:
        self.settled += 1
        outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        if self.sends and not isinstance(outcome, Refused):
            assert await journal.record(Outgoing(due.sender, self.settled, HASH, b"raw", (due.payment_id,)))
        return outcome

    async def resume(self, sender: str, journal: Journal) -> None:
        return


@dataclass
class Desk:
    """One process; ``settle`` and ``purse`` are what a server asks of it."""

    store: Store
    chain: Scripted
    settlements: StoreSettlements

    async def settle(self, asked: Asked) -> Settlement:
        return await self.settlements.settle_once(*asked)

    async def purse(self, asked: Asked) -> Purse | Refused:
        return await self.settlements.purse(*asked)


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    store = open_store("embedded", tmp_path, 60.0, 1000, 10_000)
    await store.open()
    chain: Any = Scripted()
    rail = X402Rail(
        lambda money: (),
        chain,
        versions=frozenset({1, 2}),
        settle_within={"eip155:84532": 1.0},
        worth=lambda terms: 0,
    )
    presence = Presence(store, "here:1", "run", 0)
    settler = Settler(
        store,
        Leases(store),
        [rail],
        presence=presence,
        replay_window=60.0,
        exclusive=True,
        metrics=Metrics("test"),
    )
    settler.start()
    yield Desk(store, chain, StoreSettlements(store, presence, settler, rail, chain))
    await settler.stop(1.0)
    await store.close()


def payment() -> Asked:
    """What a server asks about: signed, read and checked."""
    body = asking(sign_payment(Anvil.accounts[1].key, requirement(PAYEE, Anvil.token)))
    judged = Reader([SERVED]).read(json.dumps(body).encode(), int(time.time())).judged
    assert not isinstance(judged, Refused)
    return judged


async def test_a_payment_is_settled_once_however_often_it_is_asked_for(desk: Desk) -> None:
    asked = payment()
    told = await asyncio.gather(*(desk.settle(asked) for _ in range(8)))
    assert set(told) == {Settled(HASH)} and await desk.settle(asked) == Settled(HASH)
    assert desk.chain.settled == 1
    listed, _ = await desk.store.listing(state=None, route=ROUTE, limit=10, cursor=None)
    assert [each.route for each in listed] == [ROUTE]


async def test_a_verdict_against_it_leaves_nothing_behind(desk: Desk) -> None:
    asked = payment()
    desk.chain.verdict = FUNDS
    assert await desk.settle(asked) == FUNDS
    desk.chain.verdict = VerificationUnavailable("down")
    with pytest.raises(VerificationUnavailable):
        await desk.settle(asked)
    assert await desk.store.listing(state=None, route=None, limit=10, cursor=None) == ([], None)

    desk.chain.verdict = Accepted()
    assert await desk.settle(asked) == Settled(HASH)


async def test_refused_on_the_way_with_nothing_sent_it_may_be_tried_anew(desk: Desk) -> None:
    asked = payment()
    desk.chain.outcomes = [FUNDS, FUNDS, Settled(HASH)]
    assert await desk.settle(asked) == FUNDS
    assert isinstance(await desk.purse(asked), Purse)
    assert await desk.settle(asked) == FUNDS
    assert await desk.settle(asked) == Settled(HASH)
    assert await desk.settle(asked) == Settled(HASH) and desk.chain.settled == 3
    assert await desk.purse(asked) == Refused(NONCE_USED, "this authorization is spoken for")


async def test_what_was_sent_and_reverted_stays_refused(desk: Desk) -> None:
    asked = payment()
    desk.chain.outcomes = [Unknown(HASH)]
    assert await desk.settle(asked) == Unknown(HASH)
    [recorded], _ = await desk.store.listing(state=None, route=None, limit=10, cursor=None)
    assert await desk.store.advance(recorded.lease, step(State.REFUSED, reason="insufficient_funds"))
    assert await desk.settle(asked) == FUNDS and await desk.settle(asked) == FUNDS
    assert desk.chain.settled == 1


async def test_what_somebody_else_sent_is_no_settlement_of_ours(desk: Desk) -> None:
    """Another facilitator may have settled it for another server: both must not hand out for it."""
    asked = payment()
    desk.chain.outcomes, desk.chain.sends = [Settled(HASH, recognised=True)], False
    told = await desk.settle(asked)
    assert isinstance(told, Refused) and told.reason == NONCE_USED


async def test_claims_in_flight_are_promised(desk: Desk) -> None:
    desk.chain.gate.clear()
    first = asyncio.create_task(desk.settle(payment()))
    while not desk.chain.purses:  # noqa: ASYNC110 - the store tells nobody
        await asyncio.sleep(0.01)
    verdict = await desk.purse(payment())
    assert isinstance(verdict, Purse) and verdict.spoken_for == 10_000
    assert [each.amount for each in await verdict.claims()] == [10_000]
    desk.chain.gate.set()
    assert await first == Settled(HASH)


async def test_without_a_store_nothing_is_begun(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    async def down(*args: object, **more: object) -> None:
        raise StoreUnavailable()

    monkeypatch.setattr(desk.store, "reserve", down)
    monkeypatch.setattr(desk.store, "find", down)
    for ask in (desk.settle, desk.purse):
        with pytest.raises(VerificationUnavailable):
            await ask(payment())
    assert desk.chain.settled == 0


async def test_a_store_that_goes_in_the_middle_leaves_the_outcome_open(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def down(*args: object) -> None:
        raise StoreUnavailable()

    asked = payment()
    monkeypatch.setattr(desk.store, "advance", down)
    assert await desk.settle(asked) == Unknown()

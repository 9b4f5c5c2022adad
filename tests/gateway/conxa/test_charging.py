"""Charging for what was recorded: what each answer of CONXA makes of a payment."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from facilitator.base import Refused, Settled, Unknown
from gateway.conxa import charging
from gateway.conxa.charge import Charge, read_charge, told
from gateway.conxa.charging import Charger, Payer
from gateway.conxa.wallets import Wallets
from gateway.conxa.wire import (
    Approved,
    ChargeReply,
    ConxaUnavailable,
    Declined,
    KeyRefused,
    Session,
    Status,
    Unauthorized,
    Unclear,
)
from gateway.observe import Metrics
from gateway.payment import Moment, Payment, State
from gateway.store import Store
from gateway.store.connect import open_store

PAYER = Payer("hash", "tollway-u")
CHARGE = Charge("gpt-4o", 12, 30, session="ps_1")


class Scripted:
    """CONXA: answers charges in turn, the last one stays; ``is_now`` is the session it tells of."""

    def __init__(self, *answers: ChargeReply, is_now: Session | ConxaUnavailable | None = None) -> None:
        self.answers = list(answers)
        self.is_now = is_now
        self.sent: list[tuple[object, ...]] = []

    async def charge(self, *said: object) -> ChargeReply:
        self.sent.append(said)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    async def session(self, username: str) -> Session:
        assert self.is_now is not None and username in (PAYER.username, "tollway")
        if isinstance(self.is_now, ConxaUnavailable):
            raise self.is_now
        return self.is_now

    @property
    def keys(self) -> set[object]:
        return {said[1] for said in self.sent}


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = open_store("embedded", tmp_path, 60, 1000, 3000)
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
def wallets(store: Store) -> Wallets:
    return Wallets(store)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(charging, "_PAUSES", (0.001, 0.01))


def charger(conxa: Scripted, wallets: Wallets, patience: float = 5.0) -> Charger:
    return Charger(conxa, wallets, Metrics("1"), gateway="tollway-1", patience=patience)  # type: ignore[arg-type]


def payment(charge: Charge = CHARGE, **changes: Any) -> Payment:
    """Taken up for the first time just now."""
    fields: dict[str, Any] = {
        "id": "pay_1",
        "state": State.SETTLING,
        "fence": 1,
        "attempts": 1,
        "digest": "d",
        "rail": "conxa",
        "route": "r",
        "payer": PAYER.username,
        "amount": 1,
        "asset": "charge",
        "network": "conxa",
        "queue": "conxa",
        "terms": b"",
        "expires_at": 0,
        "idempotency_key": "k",
        "created_at": 1700,
        "updated_at": 1800,
        "leased_until": 0,
        "read_at": 1800,
        "history": ((State.RESERVED, 1700), (State.SERVED, 1750), (State.SETTLING, 1800)),
        "note": charge.note(),
    }
    return Payment(**(fields | changes))


async def test_approved(wallets: Wallets) -> None:
    conxa = Scripted(Approved(958))
    outcome = await charger(conxa, wallets).settle(payment(), PAYER)
    assert conxa.sent == [("ps_1", "tollway-1:pay_1:1700:0", "gpt-4o", 12, 30)]
    assert isinstance(outcome, Settled) and outcome.transaction == "tollway-1:pay_1:1700:0"
    assert outcome.note is not None and b"ps_1" not in outcome.note, "no need for the session any more"
    fields = dict(told(outcome.note))
    assert (fields[b"X-Conxa-Tokens"], fields[b"X-Conxa-Balance"]) == (b"in=12;out=30", b"958")
    assert (await wallets.recall(PAYER.who)).balance == 958


async def test_no_answer_is_asked_for_again_with_the_same_key_and_numbers(wallets: Wallets) -> None:
    conxa = Scripted(Unclear("timeout"), Unclear("409", retry_after=0.01), Unclear("500"), Approved(1))
    assert isinstance(await charger(conxa, wallets).settle(payment(), PAYER), Settled)
    assert len(conxa.sent) == 4 and len(set(conxa.sent)) == 1


async def test_no_answer_for_long_is_unknown_and_keeps_its_key(wallets: Wallets) -> None:
    conxa = Scripted(Unclear("timeout"))
    seller = charger(conxa, wallets, patience=0.05)
    first = await seller.settle(payment(), PAYER)
    assert first == Unknown("tollway-1:pay_1:1700:0", "settlement_pending")
    assert (await wallets.recall(PAYER.who)).indebted
    conxa.answers = [Approved(5)]
    later = payment(state=State.UNKNOWN, reason="settlement_pending", transaction=first.transaction)
    assert isinstance(await seller.settle(later, PAYER), Settled) and len(conxa.keys) == 1


@pytest.mark.parametrize(
    ("code", "reason", "blocked"),
    [
        ("INSUFFICIENT_BALANCE", "insufficient_balance", False),
        ("HARD_CAP_VIOLATION", "hard_cap_violation", True),
        ("NO_CHARGE_PERMISSION", "no_charge_permission", True),
        ("SOMETHING_NEW", "charge_refused", False),
    ],
)
async def test_refused_and_held_back(wallets: Wallets, code: str, reason: str, blocked: bool) -> None:
    outcome = await charger(Scripted(Declined(code, 3)), wallets).settle(payment(), PAYER)
    assert isinstance(outcome, Refused) and outcome.reason == reason and outcome.note is not None
    assert read_charge(outcome.note) == replace(CHARGE, session="", balance=3, error_code=code)
    wallet = await wallets.recall(PAYER.who)
    assert (wallet.block is not None) is blocked and not wallet.indebted


async def test_refused_after_it_was_served_is_a_debt(wallets: Wallets) -> None:
    """It blocks its session, and is asked for again after a while, by a key of its own."""
    conxa = Scripted(Declined("INSUFFICIENT_BALANCE", 3))
    seller = charger(conxa, wallets)
    owed = await seller.settle(payment(moment=Moment.DEFERRED), PAYER)
    assert isinstance(owed, Unknown) and owed.reason == "insufficient_balance" and owed.note is not None
    assert (await wallets.recall(PAYER.who)).indebted
    charge = read_charge(owed.note)
    assert charge.number == 1 and charge.again_at > time.time() + 30

    conxa.answers = [Approved(58)]
    waiting = payment(charge, moment=Moment.DEFERRED, state=State.UNKNOWN, reason=owed.reason)
    assert await seller.settle(waiting, PAYER) == Unknown("", owed.reason, waiting.note), "not yet"
    due = replace(waiting, note=replace(charge, again_at=time.time()).note())
    assert isinstance(await seller.settle(due, PAYER), Settled)
    assert conxa.keys == {"tollway-1:pay_1:1700:0", "tollway-1:pay_1:1700:1"}


async def test_a_charge_nobody_takes_is_no_debt(wallets: Wallets) -> None:
    invalid = Scripted(Declined("INVALID_CHARGE", None))
    outcome = await charger(invalid, wallets).settle(payment(moment=Moment.DEFERRED), PAYER)
    assert isinstance(outcome, Refused) and outcome.reason == "invalid_charge"


async def test_nothing_used_nothing_charged(wallets: Wallets) -> None:
    conxa = Scripted(Approved(1))
    outcome = await charger(conxa, wallets).settle(payment(Charge("m", 5, 0, prepaid=9)), PAYER)
    assert isinstance(outcome, Settled) and outcome.transaction == "" and conxa.sent == []


async def test_what_was_prepaid_is_not_charged_again(wallets: Wallets) -> None:
    conxa = Scripted(Approved(1))
    await charger(conxa, wallets).settle(payment(replace(CHARGE, prepaid=10)), PAYER)
    assert conxa.sent[0][3:] == (2, 30)


# 401: of the session, or of our key?


@pytest.mark.parametrize("status", [Status.EXPIRED, Status.PENDING])
async def test_the_session_is_over(wallets: Wallets, status: Status) -> None:
    conxa = Scripted(Unauthorized(), is_now=Session(status))
    outcome = await charger(conxa, wallets).settle(payment(), PAYER)
    assert isinstance(outcome, Refused) and outcome.reason == "session_expired"


async def test_the_session_has_a_successor(wallets: Wallets) -> None:
    conxa = Scripted(Unauthorized(), is_now=Session(Status.ACTIVE, "ps_2"))
    seller = charger(conxa, wallets)
    outcome = await seller.settle(payment(), PAYER)
    assert isinstance(outcome, Unknown) and outcome.note is not None
    conxa.answers = [Approved(1)]
    renewed = payment(read_charge(outcome.note), state=State.UNKNOWN, reason=outcome.reason)
    assert isinstance(await seller.settle(renewed, PAYER), Settled)
    assert [said[0] for said in conxa.sent] == ["ps_1", "ps_2"] and len(conxa.keys) == 2


@pytest.mark.parametrize("is_now", [Session(Status.ACTIVE, "ps_1"), Session(Status.EXPIRED)])
async def test_a_try_before_may_have_charged(wallets: Wallets, is_now: Session) -> None:
    """Then neither another session nor a refusal can be right: it stays unknown."""
    conxa = Scripted(Unclear("timeout"), Unauthorized(), is_now=is_now)
    outcome = await charger(conxa, wallets).settle(payment(), PAYER)
    assert outcome == Unknown("tollway-1:pay_1:1700:0", "settlement_pending")


async def test_somebody_else_may_have_tried_before(wallets: Wallets) -> None:
    conxa = Scripted(Unauthorized(), is_now=Session(Status.EXPIRED))
    again = payment(updated_at=9000)
    assert isinstance(await charger(conxa, wallets).settle(again, PAYER), Unknown)


@pytest.mark.parametrize("error", [KeyRefused(), ConxaUnavailable("down")])
async def test_our_own_key_is_refused(wallets: Wallets, error: ConxaUnavailable) -> None:
    """Neither yes nor no: its client may ask again, and its wallet waits."""
    conxa = Scripted(Unauthorized(), is_now=error)
    outcome = await charger(conxa, wallets).settle(payment(), PAYER)
    assert outcome == Unknown("tollway-1:pay_1:1700:0", "charge_unauthorized") and len(conxa.sent) == 1
    assert (await wallets.recall(PAYER.who)).indebted


async def test_a_session_of_the_clients_own_is_over(wallets: Wallets) -> None:
    """It cannot be looked up; that our key is good can."""
    conxa = Scripted(Unauthorized(), is_now=Session(Status.PENDING))
    outcome = await charger(conxa, wallets).settle(payment(), Payer("hash", ""))
    assert isinstance(outcome, Refused) and outcome.reason == "session_expired"

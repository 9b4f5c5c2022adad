"""The ledger against the chain against what the clients got: every disagreement is a finding.

The kinds follow RELIABILITY section 1: money twice (M1, M7), money without an answer (M4), an answer
without money (M5), work done twice (M2), a record that says what the chain does not.
"""

from __future__ import annotations

import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from crash.transfers import Transfer
from crash.wants import PRICE, Want

MOVING = ("served", "settling", "unknown", "serving")
"""States from which a gateway that runs moves on by itself."""
PAID = ("settled", "serving", "refund_due", "refunding", "refunded")
"""States that say the money came."""
UNPAID = ("reserved", "released", "refused")
LATE = 0.3
"""Seconds after the last byte in which a delivery is marked, on a busy machine."""
GRACE = 30.0
"""Seconds after its authorization is void in which an unknown outcome must have become known."""


@dataclass(frozen=True, slots=True)
class Execution:
    """One request that reached the upstream."""

    number: int
    path: str
    id: str
    """The payment's, as the gateway told the upstream."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that must not be."""

    kind: str
    about: str
    ids: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.kind}: {self.about} {' '.join(self.ids)}".rstrip()


@dataclass
class Evidence:
    """Everything known about one gateway's business so far."""

    wants: Sequence[Want]
    ledger: Sequence[dict[str, Any]]
    """Records as ``tollway ledger --format jsonl`` prints them."""
    transfers: Sequence[Transfer]
    executions: Sequence[Execution]
    now: float = field(default_factory=time.time)
    """Unix seconds."""

    def __post_init__(self) -> None:
        self.records = {record["id"]: record for record in self.ledger}
        self.paid: dict[str, list[Transfer]] = defaultdict(list)
        for transfer in self.transfers:
            self.paid[transfer.id].append(transfer)
        self.done = {execution.number: execution for execution in self.executions}

    def groups(self) -> Iterator[list[Want]]:
        """Wants that cannot be told apart: the same request by the same payer."""
        found: dict[tuple[str, str, bytes], list[Want]] = defaultdict(list)
        for want in self.wants:
            found[want.payer.address, f"{want.method} {want.path}", want.body].append(want)
        yield from found.values()

    def unread(self, group: Sequence[Want]) -> list[str]:
        """Payments whose answer was in the client's kernel when the client gave up without reading it.

        That is delivered: whoever asks again is a new customer.
        """
        given_up = [reply for want in group for reply in want.replies if reply.gave_up]
        return [
            payment
            for payment in _ids(group)
            if (at := _delivered_at(self.records.get(payment, {}))) is not None
            and any(reply.began <= at <= reply.at + LATE for reply in given_up)
        ]


def audit(evidence: Evidence) -> list[Finding]:
    """All findings, in no particular order of weight."""
    return [finding for rule in RULES for finding in rule(evidence)]


def charged_once(evidence: Evidence) -> Iterator[Finding]:
    """However often it was tried and signed, what was wanted once is paid for at most once."""
    for group in evidence.groups():
        ids = _ids(group)
        paid = [transfer for each in ids for transfer in evidence.paid.get(each, ())]
        most = len(group) + len(evidence.unread(group))
        if len(paid) > most or sum(each.amount for each in paid) > PRICE * most:
            about = f"{_named(group)}: {len(paid)} transfers for {len(group)} purchases"
            yield Finding("double charge", about, tuple(each.id for each in paid))


def paid_gets_an_answer(evidence: Evidence) -> Iterator[Finding]:
    """Everybody who stayed was answered, and whoever went finds what is paid for on record."""
    for group in evidence.groups():
        owed = [each for each in _ids(group) if each in evidence.paid]
        unanswered = [want for want in group if want.ended not in ("answered", "quit")]
        if unanswered and len(owed) > sum(want.answer is not None for want in group):
            yield Finding("paid, not delivered", f"{_named(unanswered)}: {unanswered[0].ended}", tuple(owed))
        for each in owed:
            record = evidence.records.get(each)
            if record is None:
                yield Finding("paid, not on record", _named(group), (each,))
            elif record["state"] not in PAID:
                yield Finding("paid, recorded otherwise", f"{_named(group)}: {record['state']}", (each,))


def everybody_is_answered(evidence: Evidence) -> Iterator[Finding]:
    """A client that goes on trying gets what it wants: nothing here refuses it for good."""
    for want in evidence.wants:
        if want.ended not in ("answered", "quit"):
            yield Finding("never answered", f"{_named([want])}: {want.ended or 'still waits'}", _ids([want]))


def clients_saw_nothing_wrong(evidence: Evidence) -> Iterator[Finding]:
    for want in evidence.wants:
        for wrong in want.wrong:
            yield Finding("seen by the client", f"{_named([want])}: {wrong}", _ids([want]))


def delivered_is_paid(evidence: Evidence) -> Iterator[Finding]:
    """Each answer is the work of one payment, which is settled; and it is the answer to that request."""
    for want in evidence.wants:
        if want.answer is None:
            continue
        told = json.loads(want.answer)
        execution = evidence.done.get(told["number"])
        if execution is None or execution.path != want.path:
            yield Finding("somebody else's answer", f"{_named([want])}: {execution}", _ids([want]))
        elif not evidence.paid.get(execution.id):
            state = evidence.records.get(execution.id, {}).get("state", "not on record")
            kind = "loss" if want.errand.moment == "deferred" else "delivered, unpaid"
            yield Finding(kind, f"{_named([want])}: {state}", (execution.id,))


def one_answer_each(evidence: Evidence) -> Iterator[Finding]:
    """No two purchases are answered by one execution, unless an answer was fetched again as lost."""
    takers: dict[int, list[Want]] = defaultdict(list)
    for want in evidence.wants:
        if want.answer is not None:
            takers[json.loads(want.answer)["number"]].append(want)
    for number, wants in takers.items():
        fresh = [want for want in wants if not want.replies or not _last_good(want).replayed]
        if len(fresh) > 1:
            yield Finding("one answer sold twice", f"{_named(wants)}: number {number}", _ids(wants))


def settled_once(evidence: Evidence) -> Iterator[Finding]:
    for payment, transfers in evidence.paid.items():
        if len(transfers) > 1:
            yield Finding("settled twice", f"{len(transfers)} transfers", (payment,))
        if any(each.amount != PRICE for each in transfers):
            yield Finding("another amount", str([each.amount for each in transfers]), (payment,))


def executed_as_promised(evidence: Evidence) -> Iterator[Finding]:
    """The upstream works once for each attempt and each redemption on record, no more.

    What came to nothing may be forgotten once its authorization is void. A redemption is counted at its end:
    where money comes first, an interrupted delivery that the client saw break counts as well.
    """
    broken = {
        signed.id: sum(reply.status == 0 for want in group for reply in want.replies)
        for group in evidence.groups()
        for want in group
        for signed in want.signed
    }
    void = {each.id for want in evidence.wants for each in want.signed if each.valid_before < evidence.now}
    for payment, count in Counter(each.id for each in evidence.executions).items():
        record = evidence.records.get(payment)
        if record is None:
            if payment not in void:
                yield Finding("work for a payment not on record", f"{count} executions", (payment,))
            continue
        promised = record["attempts"] + record["redemptions"]
        if record["settle"] == "before":
            promised += broken[payment]
        if count > promised:
            about = f"{count} executions, {record['attempts']} attempts, {record['redemptions']} redemptions"
            yield Finding("work done twice", about, (payment,))


def ledger_tells_the_truth(evidence: Evidence) -> Iterator[Finding]:
    """A record that says paid has its transfer, in the transaction it names; no other has one."""
    known = set(_ids(evidence.wants))
    for payment, record in evidence.records.items():
        transfers = evidence.paid.get(payment, [])
        if payment not in known:
            yield Finding("a record nobody signed", record["state"], (payment,))
        elif record["state"] in PAID and not transfers:
            yield Finding("recorded as paid, not on the chain", record["transaction"], (payment,))
        elif record["state"] in UNPAID and transfers:
            yield Finding("on the chain, not recorded as paid", record["state"], (payment,))
        elif record["state"] in PAID and record["transaction"] != transfers[0].transaction:
            about = f"{record['transaction']} instead of {transfers[0].transaction}"
            yield Finding("another transaction on record", about, (payment,))
    for payment in evidence.paid.keys() - evidence.records.keys() - known:
        yield Finding("money nobody signed for", "", (payment,))


def nothing_is_left_hanging(evidence: Evidence) -> Iterator[Finding]:
    """A gateway that ran on for a while has moved everything; an unknown one may wait for its expiry."""
    for payment, record in evidence.records.items():
        if record["state"] not in MOVING:
            continue
        void = evidence.now > int(record["valid_before"]) + GRACE
        if record["state"] != "unknown" or void:
            yield Finding("left hanging", record["state"], (payment,))


def sums_agree(evidence: Evidence) -> Iterator[Finding]:
    recorded = sum(int(each["amount"]) for each in evidence.records.values() if each["state"] in PAID)
    arrived = sum(transfer.amount for transfer in evidence.transfers)
    if recorded != arrived:
        yield Finding("sums differ", f"the ledger says {recorded}, the chain {arrived}")


RULES: tuple[Callable[[Evidence], Iterable[Finding]], ...] = (
    charged_once,
    paid_gets_an_answer,
    everybody_is_answered,
    clients_saw_nothing_wrong,
    delivered_is_paid,
    one_answer_each,
    settled_once,
    executed_as_promised,
    ledger_tells_the_truth,
    nothing_is_left_hanging,
    sums_agree,
)


def _delivered_at(record: dict[str, Any]) -> float | None:
    """Unix seconds."""
    text = record.get("delivered_at")
    return None if text is None else datetime.fromisoformat(text).timestamp()


def _ids(wants: Iterable[Want]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(signed.id for want in wants for signed in want.signed))


def _named(wants: Sequence[Want]) -> str:
    numbers = ", ".join(str(want.number) for want in wants)
    first = wants[0]
    return f"want {numbers} ({first.errand.manner}, {first.errand.moment}, {first.method} {first.path})"


def _last_good(want: Want) -> Any:
    return next(reply for reply in want.replies if reply.status == 200)

"""The ledger against the money against what the clients got: every disagreement is a finding.

The kinds follow RELIABILITY section 1: money twice (M1, M7), money without an answer (M4), an answer
without money (M5), work done twice (M2), a record that says what whoever keeps the money
does not. What only one rail knows is judged by rules of its own.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from crash.api import numbered
from crash.evidence import Evidence, Finding, Rule, ids_of, named
from crash.wants import Reply, Want

MOVING = ("served", "settling", "unknown", "serving")
"""States from which a gateway that runs moves on by itself."""
PAID = ("settled", "serving", "refund_due", "refunding", "refunded")
"""States that say the money came."""
UNPAID = ("reserved", "released", "refused")
GRACE = 30.0
"""Seconds after its authorization is void in which an unknown outcome must have become known."""


def audit(evidence: Evidence, more: Sequence[Rule] = ()) -> list[Finding]:
    """All findings, in no particular order of weight; ``more`` rules are the rail's own."""
    return [finding for rule in (*RULES, *more) for finding in rule(evidence)]


def charged_once(evidence: Evidence) -> Iterator[Finding]:
    """However often it was tried and signed, what was wanted once is paid for at most once."""
    for group in evidence.groups():
        ids = ids_of(group)
        paid = [transfer for each in ids for transfer in evidence.paid.get(each, ())]
        if len(paid) > len(group) + len(evidence.unread(group)):
            about = f"{named(group)}: {len(paid)} transfers for {len(group)} purchases"
            yield Finding("double charge", about, tuple(each.id for each in paid))


def paid_gets_an_answer(evidence: Evidence) -> Iterator[Finding]:
    """Everybody who stayed was answered, and whoever went finds what is paid for on record."""
    for group in evidence.groups():
        owed = [each for each in ids_of(group) if each in evidence.paid]
        unanswered = [want for want in group if want.ended not in ("answered", "quit")]
        if unanswered and len(owed) > sum(want.answer is not None for want in group):
            yield Finding("paid, not delivered", f"{named(unanswered)}: {unanswered[0].ended}", tuple(owed))
        for each in owed:
            record = evidence.records.get(each)
            if record is None:
                yield Finding("paid, not on record", named(group), (each,))
            elif record["state"] not in PAID:
                yield Finding("paid, recorded otherwise", f"{named(group)}: {record['state']}", (each,))


def everybody_is_answered(evidence: Evidence) -> Iterator[Finding]:
    """A client that goes on trying gets what it wants: nothing here refuses it for good."""
    for want in evidence.wants:
        if want.ended not in ("answered", "quit"):
            yield Finding("never answered", f"{named([want])}: {want.ended or 'still waits'}", ids_of([want]))


def clients_saw_nothing_wrong(evidence: Evidence) -> Iterator[Finding]:
    for want in evidence.wants:
        for wrong in want.wrong:
            yield Finding("seen by the client", f"{named([want])}: {wrong}", ids_of([want]))


def delivered_is_paid(evidence: Evidence) -> Iterator[Finding]:
    """Each answer is the work of one payment, which is settled; and it is the answer to that request."""
    for want in evidence.wants:
        if want.answer is None:
            continue
        execution = evidence.done.get(numbered(want.answer))
        if execution is None or execution.path != want.path:
            yield Finding("somebody else's answer", f"{named([want])}: {execution}", ids_of([want]))
        elif not evidence.paid.get(execution.id) and execution.id not in evidence.excused:
            state = evidence.records.get(execution.id, {}).get("state", "not on record")
            kind = "loss" if want.errand.moment == "deferred" else "delivered, unpaid"
            yield Finding(kind, f"{named([want])}: {state}", (execution.id,))


def one_answer_each(evidence: Evidence) -> Iterator[Finding]:
    """No two purchases are answered by one execution, unless an answer was fetched again as lost."""
    takers: dict[int, list[Want]] = defaultdict(list)
    for want in evidence.wants:
        if want.answer is not None:
            takers[numbered(want.answer)].append(want)
    for number, wants in takers.items():
        fresh = [want for want in wants if not want.replies or not _last_good(want).replayed]
        if len(fresh) > 1:
            yield Finding("one answer sold twice", f"{named(wants)}: number {number}", ids_of(wants))


def settled_once(evidence: Evidence) -> Iterator[Finding]:
    for payment, transfers in evidence.paid.items():
        if len(transfers) > 1:
            yield Finding("settled twice", f"{len(transfers)} transfers", (payment,))


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
    known = set(ids_of(evidence.wants))
    for payment, record in evidence.records.items():
        transfers = evidence.paid.get(payment, [])
        if payment not in known:
            yield Finding("a record nobody signed", record["state"], (payment,))
        elif record["state"] in PAID and not transfers:
            yield Finding("recorded as paid, no money moved", record["transaction"], (payment,))
        elif record["state"] in UNPAID and transfers:
            yield Finding("money moved, not recorded as paid", record["state"], (payment,))
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


RULES: tuple[Rule, ...] = (
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
)


def _last_good(want: Want) -> Reply:
    return next(reply for reply in want.replies if reply.status == 200)

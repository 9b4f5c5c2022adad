"""What the wallets' service knows, against the ledger and the answers."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from crash.api import numbered, used
from crash.evidence import Evidence, Execution, Finding, Rule, Transfer, named
from crash.wants import Signed, Want

from gateway.devconxa.ledger import Charge
from gateway.payment import request_digest

FLAT = (100, 0)
"""Input and output tokens of what is charged beforehand."""


@dataclass
class WalletEvidence(Evidence):
    """With what the service knows."""

    charges: Sequence[Charge]
    bodies: Mapping[str, Mapping[str, int]]
    """What was sent under each idempotency key."""
    spent: Mapping[str, int]
    """Tokens gone from each wallet."""

    @property
    def excused(self) -> frozenset[str]:
        """Served on trust, and the session ended before it was charged."""
        lost = ("deferred", "refused", "session_expired")
        told = ((each["id"], (each["settle"], each["state"], each["reason"])) for each in self.ledger)
        return frozenset(payment for payment, ended in told if ended == lost)


def charged_for_the_answer(evidence: WalletEvidence) -> Iterator[Finding]:
    """A charge is for the tokens of an execution of its payment: of that very one, where it was delivered."""
    worked: dict[str, set[tuple[int, int]]] = defaultdict(set)
    for execution in evidence.executions:
        worked[execution.id].add(used(execution.number))
    charged = {payment_of(each.key): (each.input_tokens, each.output_tokens) for each in evidence.charges}
    for payment, tokens in charged.items():
        due = {FLAT} if _beforehand(evidence, payment) else worked[payment]
        if tokens not in due:
            yield Finding("another amount", f"{tokens} instead of {due}", (payment,))
    for want in evidence.wants:
        execution = None if want.answer is None else evidence.done.get(numbered(want.answer))
        if execution is None or execution.id not in charged or want.errand.moment == "before":
            continue
        if charged[execution.id] != used(execution.number):
            about = f"{named([want])}: {charged[execution.id]} instead of {used(execution.number)}"
            yield Finding("charged for another answer", about, (execution.id,))


def one_body_a_key(evidence: WalletEvidence) -> Iterator[Finding]:
    for key, bodies in evidence.bodies.items():
        if len(bodies) > 1:
            yield Finding("a key with two bodies", " ".join(bodies), (payment_of(key),))


def the_payers_wallet_paid(evidence: WalletEvidence) -> Iterator[Finding]:
    for charge in evidence.charges:
        payment = payment_of(charge.key)
        record = evidence.records.get(payment)
        if record is not None and record["payer"] != charge.username:
            yield Finding("somebody else's wallet", f"{charge.username}, not {record['payer']}", (payment,))


def no_charge_is_open(evidence: WalletEvidence) -> Iterator[Finding]:
    """The service answers again: whatever was unknown has an outcome by now."""
    for payment, record in evidence.records.items():
        if record["state"] == "unknown":
            yield Finding("left hanging", f"unknown: {record['reason']}", (payment,))


def wallets_add_up(evidence: WalletEvidence) -> Iterator[Finding]:
    charged: dict[str, int] = defaultdict(int)
    for charge in evidence.charges:
        charged[charge.wallet] += sum((charge.input_tokens, charge.output_tokens))
    for wallet, gone in evidence.spent.items():
        if gone != charged[wallet]:
            about = f"{gone} tokens are gone from {wallet}, {charged[wallet]} were charged"
            yield Finding("sums differ", about)


WALLET_RULES: tuple[Rule, ...] = (
    charged_for_the_answer,
    one_body_a_key,
    the_payers_wallet_paid,
    no_charge_is_open,
    wallets_add_up,
)


def payment_of(key: str | None) -> str:
    """The payment in an idempotency key of the gateway's."""
    return "" if key is None else key.split(":")[1]


def moved(charge: Charge) -> Transfer:
    """A charge as the audit of every rail reads it."""
    return Transfer(payment_of(charge.key), charge.username, charge.cost, charge.key or "")


def recognise(
    wants: Sequence[Want], ledger: Sequence[dict[str, Any]], executions: Sequence[Execution]
) -> None:
    """Whose payments these are: the request's digest says it, and what reached the API by its path.

    What came to nothing may be forgotten once an audit has seen it.
    """
    asked, paths = defaultdict(list), defaultdict(list)
    for want in wants:
        asked[want.payer.address, request_digest(want.method, want.path, None, want.body)].append(want)
        paths[want.path].append(want)
    seen = int(time.time()) + 1
    for record in ledger:
        for want in asked[record["payer"], record["digest"]]:
            want.note(Signed(record["id"], want.payer.address, "", seen))
    for execution in executions:
        for want in paths[execution.path]:
            want.note(Signed(execution.id, want.payer.address, "", seen))


def _beforehand(evidence: Evidence, payment: str) -> bool:
    record = evidence.records.get(payment)
    return record is not None and record["settle"] == "before"

"""What is known of one gateway's business: by its ledger, the keeper of the money, the API and its buyers."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from crash.wants import Want

LATE = 0.3
"""Seconds after the last byte in which a delivery is marked, on a busy machine."""


@dataclass(frozen=True, slots=True)
class Execution:
    """One request that reached the upstream."""

    number: int
    path: str
    id: str
    """The payment's, as the gateway told the upstream."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """Money that moved, as the chain or the wallets' service says."""

    id: str
    """The payment's, as the gateway derives it; something else where there is none."""
    payer: str
    amount: int
    transaction: str


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
    """Everything known so far."""

    wants: Sequence[Want]
    ledger: Sequence[dict[str, Any]]
    """Records as ``tollway ledger --format jsonl`` prints them."""
    transfers: Sequence[Transfer]
    executions: Sequence[Execution]
    now: float = field(default_factory=time.time, kw_only=True)
    """Unix seconds."""

    def __post_init__(self) -> None:
        self.records = {record["id"]: record for record in self.ledger}
        self.paid: dict[str, list[Transfer]] = defaultdict(list)
        for transfer in self.transfers:
            self.paid[transfer.id].append(transfer)
        self.done = {execution.number: execution for execution in self.executions}

    @property
    def excused(self) -> frozenset[str]:
        """Payments whose answer may be delivered and unpaid: their loss is on record, and was provoked."""
        return frozenset()

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
            for payment in ids_of(group)
            if (at := _delivered_at(self.records.get(payment, {}))) is not None
            and any(reply.began <= at <= reply.at + LATE for reply in given_up)
        ]


Rule = Callable[[Any], Iterable[Finding]]
"""Finds what must not be in an Evidence, or in what a rail knows beyond that."""


def ids_of(wants: Iterable[Want]) -> tuple[str, ...]:
    """The payments that were made for these."""
    return tuple(dict.fromkeys(signed.id for want in wants for signed in want.signed))


def named(wants: Sequence[Want]) -> str:
    """Wants for one thing, in words."""
    numbers = ", ".join(str(want.number) for want in wants)
    first = wants[0]
    return f"want {numbers} ({first.errand.manner}, {first.errand.moment}, {first.method} {first.path})"


def _delivered_at(record: dict[str, Any]) -> float | None:
    """Unix seconds."""
    text = record.get("delivered_at")
    return None if text is None else datetime.fromisoformat(text).timestamp()

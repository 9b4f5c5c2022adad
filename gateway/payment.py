"""The life of one payment: pure data and the one table of allowed steps.

Two laws stand behind the table:

1. Money follows evidence. Whatever may have reached the chain is ``settling``
   or ``unknown`` until evidence says ``settled`` or ``refused``.
2. A claim never goes back to free while its money may move: only ``reserved``
   can be released, and only the same request can claim it again.

``after`` and ``deferred`` routes go reserved -> served -> settling -> settled;
``before`` routes go reserved -> settling -> settled -> serving -> settled.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """Where a payment stands."""

    RESERVED = "reserved"
    SERVED = "served"
    SETTLING = "settling"
    SETTLED = "settled"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    RELEASED = "released"


TRANSITIONS: dict[State, frozenset[State]] = {
    State.RESERVED: frozenset({State.SERVED, State.RELEASED}),
    State.RELEASED: frozenset({State.RESERVED}),
    State.SERVED: frozenset({State.SETTLING}),
    State.SETTLING: frozenset({State.SETTLING, State.SETTLED, State.REFUSED, State.UNKNOWN}),
    State.UNKNOWN: frozenset({State.SETTLED, State.REFUSED}),
    State.REFUSED: frozenset({State.SETTLED}),
    State.SETTLED: frozenset(),
}

IN_FLIGHT = frozenset({State.RESERVED, State.SERVED, State.SETTLING, State.UNKNOWN})
"""States in which the payer's money is spoken for but has not moved for certain."""

READY = State.SERVED
"""A queued payment to be settled at once: who served it only waits, and lets go of its lease."""

TAKEN_UP_AGAIN = frozenset({State.SETTLING, State.UNKNOWN})
"""Queued payments to look after again once their lease has lapsed; unknown stays unknown meanwhile."""


def allowed_from(to: State) -> frozenset[State]:
    """The states from which ``to`` may be reached."""
    return frozenset(state for state, targets in TRANSITIONS.items() if to in targets)


def payment_id(replay_key: str) -> str:
    """The public id of the payment behind a replay key: the same key, the same id."""
    return "pay_" + hashlib.sha256(replay_key.encode()).hexdigest()[:32]


def request_digest(method: str, path: str, query: str | None, body: bytes) -> str:
    """Bind a payment to one request: method, canonical path, raw query, body (hex SHA-256)."""
    head = f"{method} {path}" if query is None else f"{method} {path}?{query}"
    outer = hashlib.sha256(head.encode("ascii"))
    outer.update(b"\n")
    outer.update(hashlib.sha256(body).digest())
    return outer.hexdigest()


@dataclass(frozen=True, slots=True)
class Claim:
    """What a request asks the store to reserve. Amounts are atomic units."""

    replay_key: str
    digest: str
    rail: str
    route: str
    payer: str
    amount: int
    asset: str
    network: str
    purse: str
    """Whose balance the claim draws on: (network, asset, payer). Claims in flight are summed by it."""
    queue: str
    """The settlement queue the payment will join once served."""
    terms: bytes
    """What will be settled, as the rail wrote it; opaque to the store."""
    expires_at: int
    """Unix seconds after which the authorization is void (validBefore); may be as large as 2**256-1."""
    idempotency_key: str | None = None

    @property
    def id(self) -> str:
        return payment_id(self.replay_key)


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to act on one payment; ``fence`` grows with every new holder."""

    payment_id: str
    fence: int


@dataclass(frozen=True, slots=True)
class Payment:
    """One payment as recorded. Times are the store's clock in milliseconds."""

    id: str
    state: State
    fence: int
    attempts: int
    digest: str
    rail: str
    route: str
    payer: str
    amount: int
    asset: str
    network: str
    queue: str
    terms: bytes
    expires_at: int
    idempotency_key: str | None
    created_at: int
    updated_at: int
    leased_until: int
    read_at: int
    """The store's clock when this copy was read; ``leased_until`` is compared with it."""
    transaction: str = ""
    reason: str = ""
    history: tuple[tuple[State, int], ...] = ()

    @property
    def lease(self) -> Lease:
        return Lease(self.id, self.fence)

    @property
    def leased(self) -> bool:
        return self.leased_until > self.read_at


@dataclass(frozen=True, slots=True)
class Claimed:
    """The claim is ours. ``in_flight`` is what the same purse has claimed elsewhere."""

    lease: Lease
    attempt: int
    created_at: int
    in_flight: int

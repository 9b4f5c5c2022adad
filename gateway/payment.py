"""The life of one payment: pure data and the one table of allowed steps.

Three laws stand behind the table:

1. Money follows evidence. Whatever may have reached the chain is ``settling``
   or ``unknown`` until evidence says ``settled`` or ``refused``.
2. A claim never goes back to free while its money may move: only ``reserved``
   can be released, and only the same request can claim it again.
3. Money that moved is owed for: a settled payment whose answer is not out yet can
   only be served, or be ``refund_due`` and then be served after all.

``after`` and ``deferred``: reserved -> served -> settling -> settled.
``before``: reserved -> settling -> settled -> serving -> settled.
``delivered_at`` and ``left`` are fields: they say what became of the answer, not of the money.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, lru_cache


class State(StrEnum):
    """Where a payment stands."""

    RESERVED = "reserved"
    SERVED = "served"
    SETTLING = "settling"
    SETTLED = "settled"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    RELEASED = "released"
    SERVING = "serving"
    REFUND_DUE = "refund_due"


class Moment(StrEnum):
    """When a route's payments are settled."""

    AFTER = "after"
    BEFORE = "before"
    DEFERRED = "deferred"


TRANSITIONS: dict[State, frozenset[State]] = {
    # reserved -> reserved: the request is about to be sent, and a lost answer is to be settled.
    State.RESERVED: frozenset({State.RESERVED, State.SERVED, State.SETTLING, State.RELEASED}),
    State.RELEASED: frozenset({State.RESERVED}),
    State.SERVED: frozenset({State.SETTLING}),
    State.SETTLING: frozenset({State.SETTLING, State.SETTLED, State.REFUSED, State.UNKNOWN}),
    # unknown -> unknown: there is news, but no outcome.
    State.UNKNOWN: frozenset({State.UNKNOWN, State.SETTLED, State.REFUSED}),
    State.REFUSED: frozenset({State.SETTLED}),
    State.SETTLED: frozenset({State.SERVING, State.REFUND_DUE}),
    State.SERVING: frozenset({State.SETTLED, State.REFUND_DUE}),
    State.REFUND_DUE: frozenset({State.SERVING}),
}

IN_FLIGHT = frozenset({State.RESERVED, State.SERVED, State.SETTLING, State.UNKNOWN})
"""States in which the payer's money is spoken for but has not moved for certain."""

READY = State.SERVED
"""A queued payment to be settled at once: who served it only waits, and lets go of its lease."""

TAKEN_UP_AGAIN = frozenset({State.RESERVED, State.SETTLING, State.UNKNOWN, State.SETTLED, State.SERVING})
"""Queued payments to look after once nobody holds them: a lost answer, a settlement, a paid answer
that was never handed out."""

TO_SETTLE = frozenset({State.RESERVED, State.SERVED})
"""Queued payments that become ``settling`` when they are taken up; the others keep their state."""

OWED = frozenset(
    {State.SERVED, State.SETTLING, State.UNKNOWN, State.SETTLED, State.SERVING, State.REFUND_DUE}
)
"""States in which an undelivered answer keeps its payer from being charged for the same request again."""

REDEEMABLE = frozenset({State.SETTLED, State.REFUND_DUE})
"""Paid for: the answer may be asked of the upstream (again) under a lease, without a charge."""


@cache
def allowed_from(to: State) -> frozenset[State]:
    """The states from which ``to`` may be reached."""
    return frozenset(state for state, targets in TRANSITIONS.items() if to in targets)


@lru_cache(maxsize=1024)
def payment_id(replay_key: str) -> str:
    """The public id of the payment behind a replay key: the same key, the same id. One payment's is asked for
    several times."""
    return "pay_" + hashlib.sha256(replay_key.encode()).hexdigest()[:32]


def request_digest(method: str, path: str, query: str | None, body: bytes) -> str:
    """Bind a payment to one request: method, canonical path, raw query, body (hex SHA-256)."""
    head = f"{method} {path}" if query is None else f"{method} {path}?{query}"
    return hashlib.sha256(b"%b\n%b" % (head.encode("ascii"), hashlib.sha256(body).digest())).hexdigest()


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
    moment: Moment = Moment.AFTER
    """When it is to be settled; ``deferred`` becomes ``after`` where the exposure is too much."""
    exposure: int = 0
    """What a deferred claim puts at risk, in millionths of a dollar (or of the asset's unit), rounded up."""

    @property
    def id(self) -> str:
        return payment_id(self.replay_key)


@dataclass(frozen=True, slots=True)
class Caps:
    """Most that may be at risk by ``deferred`` at once, in millionths of a dollar."""

    per_payer: int
    total: int


@dataclass(frozen=True, slots=True)
class Instance:
    """One gateway process. Its ``slot`` is stable; the process behind it is one ``name``."""

    name: str
    """Unique for every process that ever ran."""
    slot: str
    """Host and public port: what a restart takes over."""
    run: str
    """Shared by the workers of one start of the gateway."""
    number: int
    """The worker's number within the run."""
    process: str
    """What a process of the same machine can check: boot, pid namespace, pid, start time."""


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
    moment: Moment = Moment.AFTER
    client: str = ""
    """The instance (its name) that has, or had, the connection of the client that claimed it."""
    left: bool = False
    """The client hung up, was answered 503, or its instance is gone, before the answer was delivered."""
    delivered_at: int | None = None
    """When the whole answer had been taken by the client's kernel."""
    settled_at: int | None = None
    redemptions: int = 0
    """How often the upstream was asked again for an answer that is paid for."""
    note: bytes = b""
    """What the rail recorded about the payment since it was last claimed; opaque to the store."""

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
    moment: Moment = Moment.AFTER
    """The claim's own, or ``after`` where ``deferred`` would have put too much at risk."""
    beside: frozenset[str] = frozenset()
    """Instances whose clients wait for the same request by the same payer; dead ones must be buried
    and the claim tried again (they did not count as gone yet)."""


LOSS_KEPT = 24 * 3600.0
"""Seconds a loss counts against the exposure caps, and keeps its payer from ``deferred``."""


class Why(StrEnum):
    """Why a recorded payment answers instead of a new claim."""

    SAME = "same"
    """The same authorization."""
    KEYED = "keyed"
    """The same payer and route used this idempotency key before (the digest may differ)."""
    LOST = "lost"
    """The same payer paid for the same request before, and its client left without the answer."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A recorded payment that stands in the way of a claim, unchanged."""

    payment: Payment
    why: Why


@dataclass(frozen=True, slots=True)
class Orphan:
    """Money that reached us by an authorization this store has no record of."""

    replay_key: str
    network: str
    asset: str
    payer: str
    amount: int
    transaction: str
    found_at: int = 0
    """Store's clock, milliseconds; set by the store."""

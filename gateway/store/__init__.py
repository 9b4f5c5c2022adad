"""What the gateway keeps, and what each call must do in one atomic, durable step.

Two homes implement this protocol: ``sqlite`` (embedded, one machine) and
``redis`` (several machines). Neither knows the states' meaning: every step names
the states it may start from, taken from :mod:`gateway.payment`.

Rules for every call: an acknowledged write survives ``kill -9``; a call that cannot
be acknowledged within its deadline (0.9 s) raises :class:`StoreUnavailable` and may or
may not have happened; leases are measured with the store's own clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from facilitator.base import Outgoing
from gateway.payment import Claim, Claimed, Lease, Payment, State


@dataclass(frozen=True, slots=True)
class Step:
    """One transition of a payment, with everything that must become durable with it."""

    to: State
    since: frozenset[State]
    """States the payment may be in; in any other the step does not happen."""
    in_flight: bool
    """Whether the amount still counts against the payer's purse afterwards."""
    transaction: str | None = None
    reason: str | None = None
    answer: bytes | None = None
    """The upstream's answer, kept under the payment's id for ``replay_window``."""
    queued: bool | None = None
    """True: join ``payment.queue`` in this step. False: leave it. None: no change."""
    keep_lease: bool = False
    """False: the lease ends with this step. True: it stays with its holder."""
    forget_at: int | None = None
    """Unix milliseconds after which the record may be deleted; None: keep until a later step says."""


class Store(Protocol):
    """See the module's docstring for what holds for every call."""

    async def open(self) -> None:
        """Connect and check that money can be kept here; StoreUnfit says why not."""

    async def close(self) -> None:
        """Give back connections and files."""

    async def ping(self) -> None:
        """One cheap round trip; StoreUnavailable when the store does not answer."""

    async def reserve(self, claim: Claim, *, lease: float, max_attempts: int) -> Claimed | Payment:
        """Claim a payment, or return the record that stands in the way, unchanged.

        Claimed when: there is no record; or the record has the same digest, fewer than
        ``max_attempts`` attempts, and is ``released``, or ``reserved`` under a lapsed lease.
        Claiming writes state ``reserved``, attempts + 1, fence + 1, a lease of ``lease`` seconds,
        the claim's terms, and counts the amount against ``claim.purse``; the sum of the purse's
        other claims in flight is read in the same step.
        """

    async def find(self, payment_id: str) -> Payment | None:
        """The record, if there is one."""

    async def in_flight(self, purse: str) -> list[Payment]:
        """The purse's claims in flight."""

    async def drop(self, lease: Lease) -> bool:
        """Forget a claim that never came to work: only ``reserved``, only under this fence.

        A payment that was attempted before goes back to ``released`` instead of being forgotten.
        """

    async def advance(self, lease: Lease, step: Step) -> bool:
        """Take one step, if the fence is still ours and the state is in ``step.since``."""

    async def renew(self, leases: Sequence[Lease], *, lease: float) -> frozenset[str]:
        """Lengthen leases; returns the ids whose fence is still ours."""

    async def due(self, queue: str, *, limit: int, lease: float) -> list[Payment]:
        """Lease queued payments, oldest first: fence + 1, and ``served`` becomes ``settling``.

        Those in state ``payment.READY`` whatever their lease, those in ``payment.TAKEN_UP_AGAIN``
        once it has lapsed.
        """

    async def states(self, payment_ids: Sequence[str]) -> dict[str, State]:
        """The states of several payments in one round trip; unknown ids are left out."""

    async def listing(
        self, *, state: State | None, route: str | None, limit: int, cursor: str | None
    ) -> tuple[list[Payment], str | None]:
        """Payments, newest first, and the cursor of the next page."""

    async def answer(self, payment_id: str) -> bytes | None:
        """The stored answer, while it is kept."""

    async def hold(self, name: str, owner: str, *, lease: float) -> int | None:
        """Take or lengthen the lease ``name``; its epoch, or None while another owner has it.

        The epoch grows with every change of owner (also for the same owner after a lapse).
        """

    async def give_up(self, name: str, owner: str) -> None:
        """End a lease early, if ``owner`` has it."""

    async def record_transaction(self, epoch: int, transaction: Outgoing) -> bool:
        """Make a transaction durable before it is sent; False unless the lease named
        ``transaction.sender`` is held, unlapsed, under ``epoch``."""

    async def close_transaction(self, transaction: Outgoing) -> None:
        """The transaction needs no more care: it is mined and judged, or replaced."""

    async def open_transactions(self, sender: str) -> list[Outgoing]:
        """Recorded and not closed, lowest nonce first."""

    async def transactions_of(self, payment_id: str) -> list[Outgoing]:
        """Every transaction recorded for a payment, in order, closed ones too."""

"""What the gateway keeps, and what each call must do in one atomic, durable step.

Two homes implement this protocol: ``sqlite`` (embedded, one machine) and
``redis`` (several machines). Neither knows the states' meaning: every step names
the states it may start from, taken from :mod:`gateway.payment`.

Rules for every call: an acknowledged write survives ``kill -9``; a call that cannot
be acknowledged within its deadline (0.9 s) raises :class:`StoreUnavailable` and may or
may not have happened; leases are measured with the store's own clock.

A lease is live until it lapses or its holder is dead. An instance is dead when the store does not
know it (any more): a successor on its slot, or somebody who saw its process gone, removed it.
It is silent when it is dead or its last sign is older than ``SILENT``; the clients of a silent
instance count as gone, its leases do not. Payments are read accordingly: ``leased_until`` is 0 when
the holder is dead, ``left`` is set when the client counts as gone and the answer was not delivered.
An instance that gave no sign for a day is dead.

Housekeeping, about once a second: a ``reserved`` payment that is not queued and whose lease has been
over for 30 s becomes ``released``, and is forgotten when it is void or after ``Limits.released``.
Answers of payments that are no longer in flight make room for others when they were delivered or
nobody paid for them; the others are owed, and kept for the longer of the two windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from facilitator.base import Outgoing
from gateway.payment import Caps, Claim, Claimed, Instance, Lease, Orphan, Payment, Standing, State

SILENT = 6.0
"""Seconds after which an instance that gave no sign (they come every 3 s) is silent."""


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
    """The upstream's answer, kept under the payment's id for ``replay_window`` after its money is no
    longer in flight (for ``redeem_window`` if that is longer and it was not delivered)."""
    note: bytes | None = None
    """What the rail recorded about the payment on the way (usage measured, result of a charge), up to
    4 KiB; opaque to the store. None: no change."""
    lost: bool = False
    """Served, and refused by the money: an exposure goes on counting for ``payment.LOSS_KEPT``.
    Otherwise it ends with ``in_flight``."""
    redeemed: bool = False
    """True: count one redemption."""
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

    async def arrive(self, instance: Instance) -> None:
        """Make an instance known; its name must be its own. Dead from now on: those of its slot that
        belong to another run or have the same number."""

    async def beat(self, name: str) -> bool:
        """A sign of life; False when the instance is dead: then it needs another name."""

    async def bury(self, name: str) -> None:
        """The instance's process is gone for certain, or ends now."""

    async def instances(self) -> list[Instance]:
        """Those that are not dead."""

    async def reserve(
        self, claim: Claim, *, by: str, lease: float, max_attempts: int, caps: Caps | None = None
    ) -> Claimed | Standing:
        """Claim a payment for the instance ``by``, or return what stands in the way, unchanged.

        In this order:

        1. The record with this id, unless it has the same digest, fewer than ``max_attempts``
           attempts, and is ``released``, or ``reserved`` without a live lease and not queued (SAME).
        2. The record this payer and route last claimed with this idempotency key (KEYED), unless it
           is ``released``, ``refused``, or ``reserved`` without a live lease and not queued. A record
           claimed again with another key gives its former one back.
        3. A record of this payer and digest whose client is gone (``left``, or its instance is silent)
           and which was never delivered (LOST): ``settled`` less than ``redeem_window`` ago or
           ``refund_due`` first, else any in ``payment.OWED`` (not ``settled`` longer ago), or ``reserved``
           under a live lease or queued.

        Otherwise claimed: state ``reserved``, attempts + 1, fence + 1, a lease of ``lease`` seconds held by
        ``by``, who also is the payment's client now (``left``, ``delivered_at`` and ``note`` start anew);
        the claim's terms; the amount counts against ``claim.purse`` and the sum of the purse's other claims
        in flight is read. ``beside`` are the clients' instances of the undelivered records of this payer
        and digest (``reserved`` or in ``payment.OWED``) that rule 3 let pass because their client is there;
        ``by`` may be among them.

        A ``deferred`` claim is recorded as ``after`` where its payer has a loss on record, or where its
        exposure and those on record would be above ``caps`` (per payer, in total; None: no caps).
        """

    async def find(self, payment_id: str) -> Payment | None:
        """The record, if there is one."""

    async def in_flight(self, purse: str) -> list[Payment]:
        """The purse's claims in flight."""

    async def drop(self, lease: Lease) -> bool:
        """Forget a claim that never came to work: only ``reserved``, not queued, only under this fence.

        A payment that was attempted before goes back to ``released`` instead of being forgotten.
        """

    async def advance(self, lease: Lease, step: Step) -> bool:
        """Take one step, if the fence is still ours and the state is in ``step.since``.

        From ``reserved``, not queued, only under a live lease: others may have passed it over otherwise.
        """

    async def renew(self, leases: Sequence[Lease], *, lease: float) -> frozenset[str]:
        """Lengthen leases that are still live; returns their ids. One that has ended stays ended."""

    async def due(self, queue: str, *, by: str, limit: int, lease: float) -> list[Payment]:
        """Lease queued payments to the instance ``by``, oldest first: fence + 1.

        Those in state ``payment.READY`` whatever their lease, those in ``payment.TAKEN_UP_AGAIN``
        without a live lease. Those in ``payment.TO_SETTLE`` become ``settling``.
        """

    async def redeem(self, payment_id: str, *, by: str, lease: float, most: int) -> Lease | None:
        """Lease what is paid for, to serve it: ``serving``, fence + 1, in ``payment.queue`` until a step
        ends it: there it is found when its holder dies.

        Only in ``payment.REDEEMABLE``, or ``serving`` without a live lease, and with fewer than
        ``most`` redemptions; a lease of who settled it does not stand in the way.
        """

    async def mark(self, *, delivered: Sequence[str] = (), left: Sequence[str] = ()) -> None:
        """Record what became of answers (payment ids): taken completely, or its client went without.

        A delivered one no longer keeps its payer from new purchases; ``left`` after that changes nothing.
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
        """Take or lengthen the lease ``name``; its epoch, or None while another live owner has it.

        ``owner`` is an instance's name; any other counts as dead at once. The epoch grows with every
        change of owner (also for the same owner after a lapse).
        """

    async def give_up(self, name: str, owner: str) -> None:
        """End a lease early, if ``owner`` has it."""

    async def record_transaction(self, epoch: int, transaction: Outgoing) -> bool:
        """Make a transaction durable before it is sent, for all its payments in one step; False unless the
        lease named ``transaction.sender`` is live under ``epoch``. One that is not ``open`` counts as
        closed at once; that is not remembered of it, and it reads as open."""

    async def close_transaction(self, transaction: Outgoing) -> None:
        """The transaction needs no more care: it is mined and judged, or replaced."""

    async def open_transactions(self, sender: str) -> list[Outgoing]:
        """Recorded and not closed, lowest nonce first."""

    async def transactions_of(self, payment_id: str) -> list[Outgoing]:
        """Every transaction recorded for a payment, in order, closed ones too. One that several payments
        share is kept until the last of them is forgotten."""

    async def recorded(self, payment_ids: Sequence[str]) -> frozenset[str]:
        """Those of these payments that ``transactions_of`` has anything for, in one round trip."""

    async def note_orphan(self, orphan: Orphan) -> bool:
        """Keep a finding for the operator; False when it is there already, or the payment is on record."""

    async def orphans(self) -> list[Orphan]:
        """The newest thousand, newest first."""

    async def remember(self, name: str, value: bytes, *, seconds: float) -> None:
        """Keep a small fact under a name for that long from now (the store's clock), for all instances;
        the last one said wins, with its time. Not longer than 0 s: as ``forget``."""

    async def forget(self, name: str) -> None:
        """No such fact any more, at once; no error when there is none."""

    async def recall(self, names: Sequence[str]) -> list[bytes | None]:
        """Facts in the order of the names, in one round trip; None where there is none (any more)."""

"""What a facilitator is, and the journal it needs.

A facilitator verifies an x402 payment and settles it. It knows nothing of HTTP
requests, routes or stores; what it must remember it asks of a :class:`Journal`,
which the gateway's store implements.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from facilitator.wire import Payload, PaymentPayload, PaymentRequirements


@dataclass(frozen=True, slots=True)
class Accepted:
    """The payment may be taken to work on."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A refusal is a value: ``reason`` is a stable x402 code, ``detail`` is for people."""

    reason: str
    detail: str = ""
    note: bytes | None = None
    """What is to be remembered with the payment; opaque to all but who wrote it."""


@dataclass(frozen=True, slots=True)
class Settled:
    """The money arrived: a Transfer log of the token proves it, or whoever keeps the wallets says so."""

    transaction: str
    recognised: bool = False
    """True when somebody else's transaction moved it, after our claim."""
    note: bytes | None = None
    """As ``Refused.note``."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """Something may have reached the chain; only evidence ends this."""

    transaction: str = ""
    reason: str = "settlement_pending"
    note: bytes | None = None
    """As ``Refused.note``."""


Settlement = Settled | Refused | Unknown


class VerificationUnavailable(Exception):
    """The chain could not be asked, or its clock and ours are apart: neither yes nor no."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A signed settlement transaction: recorded before it is sent, re-sent only as these bytes.

    A fee bump is a record of its own: the same payments, sender and nonce, another hash.
    """

    sender: str
    """CAIP-2 chain and lower-case address: ``eip155:84532:0xabc...``"""
    nonce: int
    hash: str
    raw: bytes
    payment_ids: tuple[str, ...]
    """What it settles, in the order of its calls; more than one travel together."""
    open: bool = True
    """Whether it needs care until it is closed; what is only to be remembered does not."""

    @property
    def shared(self) -> bool:
        """Whether it settles several payments: then one of them may fail and the others not."""
        return len(self.payment_ids) > 1


class Journal(Protocol):
    """What settling needs to be remembered; every call is durable when it returns."""

    async def record(self, transaction: Outgoing) -> bool:
        """False when this process no longer is the key's one sender: then nothing may be sent."""

    async def close(self, transaction: Outgoing) -> None:
        """The transaction is mined and judged: it needs no more care."""

    async def open(self, sender: str) -> list[Outgoing]:
        """Recorded and not closed, lowest nonce first, a fee bump behind what it replaces."""

    async def of(self, payment_id: str) -> list[Outgoing]:
        """Every transaction recorded for a payment, in order."""

    async def known(self, payment_ids: Sequence[str]) -> frozenset[str]:
        """Those of these payments for which anything is recorded."""

    def untouched(self, payment_id: str) -> bool:
        """Whether it is certain, without asking, that nobody ever tried to record anything for a payment."""


@dataclass(frozen=True, slots=True)
class Due:
    """One payment to settle."""

    payment_id: str
    payload: Payload
    requirements: PaymentRequirements
    claimed_at: int
    """Unix milliseconds of the store's claim: an authorization used before it was not used for us."""
    sender: str
    """The payment's queue, as ``Outgoing.sender``: the key that is to settle it."""

    @property
    def exact(self) -> PaymentPayload:
        """The payload of an ``exact`` payment on EVM: only those are settled here."""
        assert isinstance(self.payload, PaymentPayload)
        return self.payload


@dataclass(frozen=True, slots=True)
class InFlight:
    """Another claim on the same purse: counted until the chain shows its nonce used."""

    nonce: bytes
    amount: int


@dataclass(frozen=True, slots=True)
class Purse:
    """What else a payer has promised out of the same balance."""

    spoken_for: int
    """The sum of its other claims in flight, atomic units."""
    claims: Callable[[], Awaitable[Sequence[InFlight]]]
    """Each of them; asked for only when the sum seems to be too much."""


AT_ONCE = 128
"""Settlements of one sender under way at once where each is a matter of its own."""


class Facilitator(Protocol):
    """verify and settle as the x402 specification means them."""

    async def verify(
        self,
        payload: Payload,
        requirements: PaymentRequirements,
        purse: Purse,
        *,
        work_budget: int = 0,
    ) -> Accepted | Refused:
        """What needs the chain: time against its clock, nonce, balance, simulation.

        ``work_budget`` is how many seconds the authorization must still be valid for.
        VerificationUnavailable when the chain cannot be asked.
        """

    async def settle(self, due: Due, journal: Journal) -> Settlement:
        """Move the money; idempotent by ``due.payment_id``.

        ``Unknown("")`` means that nothing was sent and it may be tried again; ``Unknown(hash)``
        that the transaction with this hash may have reached the chain.
        """

    async def find_paid(self, requirements: PaymentRequirements, payload: Payload) -> str | None:
        """The transaction that used an authorization to pay us, whoever sent it, as far as can be found.

        VerificationUnavailable when the chain cannot be asked.
        """

    def ready(self, network: str) -> bool:
        """Whether new work on a CAIP-2 network could be settled now, as far as is known."""

    def extra(self, network: str, scheme: str) -> Mapping[str, Any]:
        """What clients must be told to pay through it: joins ``PaymentRequirements.extra``."""

    def senders(self) -> list[str]:
        """Every sender settlements go out from, as ``Outgoing.sender`` names them."""

    def sender_for(self, network: str, payment_id: str) -> str:
        """The one of them that is to settle a new payment on a CAIP-2 network: its ``Due.sender``."""

    def at_once(self, sender: str) -> int:
        """How many settlements of a sender may be under way at once; the rest waits where it is safe."""

    async def resume(self, sender: str, journal: Journal) -> None:
        """Send a sender's open transactions again; whenever its lease was won.

        VerificationUnavailable when the chain cannot be asked.
        """

    async def close(self) -> None:
        """Give back what is held."""

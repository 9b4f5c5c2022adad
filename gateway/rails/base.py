"""What a way to pay is: the whole contract between the exchange and a rail."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from facilitator.base import Accepted, Journal, Refused, Settlement
from gateway.headers import Field
from gateway.payment import Payment
from policies.money import Money


@dataclass(frozen=True, slots=True)
class Quote:
    """What one request costs, before a rail says in which asset."""

    money: Money
    resource: str
    """Absolute URL of what is sold: public_url and canonical path, without the query."""
    description: str
    mime_type: str
    work: float
    """Seconds the upstream may take: an authorization must outlive them and the settlement."""


@dataclass(frozen=True, slots=True)
class Challenge:
    """One rail's part of a 402: header fields, and members of the JSON body."""

    fields: Sequence[Field]
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Credential:
    """A decoded payment whose signature is good. Amounts are atomic units, times unix seconds."""

    rail: str
    replay_key: str
    payer: str
    amount: int
    asset: str
    network: str
    purse: str
    queue: str
    expires_at: int
    terms: bytes
    settle_within: float
    """Seconds its settlement may take."""
    worth: int
    """Its amount in millionths of a dollar (of the asset's unit, where that is no dollar), rounded up."""
    refused: Refused | None
    """Why no new claim may be made with it; a record of it is answered all the same."""
    identifier: str | None = None
    """An idempotency key the payment itself carries (x402 ``payment-identifier``)."""


@dataclass(frozen=True, slots=True)
class OtherClaims:
    """The same purse's other claims in flight: their sum, and the records for who must look closer."""

    total: int
    load: Callable[[], Awaitable[Sequence[Payment]]]


class MalformedCredential(Exception):
    """The client sent something that is not a payment; the message says why."""


class Rail(Protocol):
    """A way to pay; ``settle`` is idempotent by payment id."""

    name: str
    headers: tuple[str, ...]
    """The request headers that carry its credentials."""
    queues: tuple[str, ...]
    """Its settlement queues; each is served by one process at a time, under a lease of the same name."""

    def challenge(self, quote: Quote, error: str) -> Challenge | None:
        """How to pay ``quote``; ``error`` is the reason a payment was refused, or ``payment_required``.

        None while nothing could be settled: no work must be taken then.
        """

    def read(self, header: str, value: str, quotes: Sequence[Quote]) -> Credential | Refused:
        """Decode and check what needs no I/O; MalformedCredential is the client's fault."""

    async def verify(self, credential: Credential, others: OtherClaims, work: float) -> Accepted | Refused:
        """What needs the outside; VerificationUnavailable when it cannot be asked."""

    async def find_paid(self, credential: Credential) -> str | None:
        """The transaction that paid us by this used credential, if it did; VerificationUnavailable."""

    async def settle(self, payment: Payment, journal: Journal) -> Settlement:
        """Move the money of one payment."""

    async def resume(self, queue: str, journal: Journal) -> None:
        """This process has just become the one that serves ``queue``: take up what was left open."""

    def receipt(
        self,
        terms: bytes,
        *,
        transaction: str,
        reason: str | None,
        extra: Mapping[str, str] | None = None,
    ) -> Field:
        """The receipt header; ``reason`` is None for a settled payment, or one that is going to be."""

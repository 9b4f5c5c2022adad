"""What a way to pay is: the whole contract between the exchange and a rail."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from facilitator.base import Journal, Settlement
from gateway.conxa.page import Page
from gateway.headers import Field
from gateway.payment import Payment
from policies.money import Money
from policies.route import Metering, Terms


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
    metering: Metering | None = None
    """How its use is counted, for rails that charge what was used."""
    terms: Terms | None = None
    """What is its own about paying by x402."""


@dataclass(frozen=True, slots=True)
class Challenge:
    """One rail's part of a 402."""

    documents: Sequence[tuple[bytes, Mapping[str, Any]]] = ()
    """Header fields whose values are JSON objects in base64."""
    body: Mapping[str, Any] = field(default_factory=dict)
    """Members of the JSON body."""
    how: Mapping[str, Any] = field(default_factory=dict)
    """How to pay, for a rail that has no place of its own in an x402 body: its member of ``rails``."""
    page: Callable[[str, str], Page] | None = None
    """What a person who came with a browser sees instead, by method and target."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a payment is refused, and how that is told."""

    reason: str
    """A stable code."""
    members: Mapping[str, Any] = field(default_factory=dict)
    """Members of the answer's body, beside our own."""
    final: bool = False
    """True: paying again does not help (403); False: a fresh challenge (402)."""


@dataclass(frozen=True, slots=True)
class OtherClaims:
    """The same purse's other claims in flight: their sum, and the records for who must look closer."""

    total: int
    load: Callable[[], Awaitable[Sequence[Payment]]]


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
    refused: Refusal | None
    """Why no new claim may be made with it; a record of it is answered all the same."""
    identifier: str | None = None
    """The idempotency key the payment has without an ``Idempotency-Key``."""
    secret: str = field(default="", repr=False)
    """What was presented, where the rail needs it again: never recorded, never logged."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a credential is presented for."""

    quote: Quote
    path: str
    """Canonical."""
    body: bytes
    codings: bytes | None
    """The client's ``Accept-Encoding``."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a receipt tells."""

    transaction: str = ""
    note: bytes = b""
    reason: str | None = None
    """None: settled, or going to be."""
    promised: str | None = None
    """The id of a payment that is going to be settled later."""


class MalformedCredential(Exception):
    """The client sent something that is not a payment; the message says why."""


class Measure:
    """What one request uses, counted while its answer passes. This one counts nothing: a price is fixed."""

    body: bytes | None = None
    """What the upstream is asked instead of the client's body, where that is to make counting possible."""
    codings: bytes | None = None
    """The ``Accept-Encoding`` the upstream gets; None: the client's."""
    by_part: bool = False
    """Whether half an answer has a price of its own."""

    def begin(self, content_type: str, content_encoding: str) -> None:
        """The answer's head is here."""

    def feed(self, chunk: bytes) -> bytes:
        """One more piece of content; what of it is the client's."""
        return chunk

    def end(self) -> bytes:
        """What was kept back of the client's content."""
        return b""

    def note(self) -> bytes | None:
        """What is to be settled, as the rail reads it; of what has passed until now."""
        return None


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

    def standing(self, quote: Quote) -> object:
        """What its challenge depends on beside the quote: the same is said as long as this stays equal."""

    def read(self, header: str, value: str, quotes: Sequence[Quote], key: str | None) -> Credential | Refusal:
        """Decode and check what needs no I/O; MalformedCredential is the client's fault.

        ``quotes``: what it costs now, then what it was quoted at before a reload. ``key`` is the client's
        ``Idempotency-Key``.
        """

    async def verify(self, credential: Credential, others: OtherClaims, wanted: Wanted) -> Refusal | None:
        """What needs the outside; VerificationUnavailable when it cannot be asked."""

    async def measure(self, credential: Credential, wanted: Wanted) -> Measure:
        """What will count the use of a verified request."""

    async def find_paid(self, credential: Credential) -> str | None:
        """The transaction that paid us by this used credential, if it did; VerificationUnavailable."""

    def at_once(self, queue: str) -> int:
        """How many settlements of a queue may be under way at once."""

    async def settle(self, payment: Payment, journal: Journal) -> Settlement:
        """Move the money of one payment."""

    async def resume(self, queue: str, journal: Journal) -> None:
        """This process has just become the one that serves ``queue``: take up what was left open."""

    def receipt(self, terms: bytes, outcome: Outcome) -> Sequence[Field]:
        """What header fields say of a payment, by the terms of the credential that asks."""

    def refusal(self, payment: Payment) -> Refusal:
        """How the recorded refusal of a settlement is told."""

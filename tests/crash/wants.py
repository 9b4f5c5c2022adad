"""What the buyers know: what they wanted, signed and got. The audit's third witness."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from crash.api import numbered
from crash.plan import Errand
from kit.answers import decoded

from gateway.payment import payment_id

PRICE = 10_000
"""Atomic units of every answer that is paid for by signature: a cent."""


class Payer(Protocol):
    """Whoever pays, by the name the gateway has for it."""

    @property
    def address(self) -> str:
        """The ledger's ``payer``."""

    @property
    def key(self) -> str:
        """The secret it pays with."""


@dataclass(frozen=True, slots=True)
class Signed:
    """One payment: an authorization that left a client, or a request that a wallet is charged for."""

    id: str
    """The payment's, as the gateway derives it."""
    payer: str
    nonce: str
    valid_before: int
    """Unix seconds after which the gateway may forget that it came to nothing."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of one attempt; ``status`` 0 where no answer came whole."""

    began: float
    at: float
    """Unix seconds from its first byte out to its end."""
    status: int
    said: str
    """The problem's code, the 402's error, or the exception."""
    body: bytes = b""
    receipt: dict[str, Any] | None = None
    replayed: bool = False
    retry_after: float | None = None
    gave_up: bool = False
    """The client itself ended it, out of patience."""


@dataclass(slots=True)
class Want:
    """One purchase somebody sets their mind on."""

    number: int
    path: str
    errand: Errand
    payer: Payer
    body: bytes
    signed: list[Signed] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)
    answer: bytes | None = None
    """The first whole answer that was paid for."""
    ended: str = ""
    """``answered``, ``quit``, or why the client gave up; empty while it goes on."""
    wrong: list[str] = field(default_factory=list)
    """What the client itself saw go wrong."""

    @property
    def method(self) -> str:
        return "POST" if self.errand.posts else "GET"

    def note(self, signed: Signed) -> None:
        """Remember a payment; sent twice it is still one."""
        if all(signed.id != each.id for each in self.signed):
            self.signed.append(signed)

    def told(self) -> dict[str, Any]:
        """For the report, without the answers' padding."""
        replies = [
            {"at": reply.at, "status": reply.status, "said": reply.said, "receipt": reply.receipt}
            for reply in self.replies
        ]
        answer = None if self.answer is None else numbered(self.answer)
        errand = {
            "manner": self.errand.manner,
            "settle": self.errand.moment,
            "patience": self.errand.patience,
        }
        about = {"want": self.number, "path": self.path, "payer": self.payer.address, **errand}
        signed = [each.id for each in self.signed]
        found = {"ended": self.ended, "answer": answer, "wrong": self.wrong}
        return {**about, **found, "signed": signed, "replies": replies}


def signed_of(header: str, chain_id: int, asset: str) -> Signed:
    """The authorization in a ``PAYMENT-SIGNATURE`` header."""
    authorization = decoded(header)["payload"]["authorization"]
    payer, nonce = authorization["from"].lower(), authorization["nonce"].lower()
    key = f"{chain_id}:{asset.lower()}:{payer}:{nonce}"
    return Signed(payment_id(key), payer, nonce, int(authorization["validBefore"]))

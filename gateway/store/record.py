"""How a payment is written down: what both stores share, so that they cannot disagree."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote

from facilitator.base import Outgoing
from gateway.errors import ClientError
from gateway.payment import Claim, Payment, State
from gateway.store import Step

DEADLINE = 0.9
"""Seconds within which a call is acknowledged or raises StoreUnavailable."""

FOREVER = 7_258_118_400_000
"""1 January 2200 in Unix milliseconds: whatever should be kept longer is kept always."""

PURGE_EVERY = 1.0
"""Seconds between two looks for what may be forgotten."""

PURGE_BATCH = 200
"""Records forgotten in one step, so that no other call waits long behind it."""

LISTING_SCAN = 1000
"""Records a filtered listing looks at for one page: a rare kind ends it short, with a cursor."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long and how much a store keeps; sizes in bytes, times in milliseconds."""

    replay_window: int
    redeem_window: int
    """How long after settling a lost answer is given to a fresh authorization."""
    released: int
    """How long a claim is remembered that was left behind without an outcome."""
    max_answer: int
    max_answers: int

    def kept(self, answer: bytes | None) -> bytes | None:
        """The answer if it is small enough to be stored."""
        return answer if answer is not None and len(answer) <= self.max_answer else None


_SAFE = re.compile(r"[A-Za-z0-9_.~-]*")


def label(text: str) -> str:
    """Any text as an unmistakable part of a key: only letters, digits and ``_.-~%`` remain."""
    return text if _SAFE.fullmatch(text) else _quoted(text)


@lru_cache(maxsize=4096)
def _quoted(text: str) -> str:
    return quote(text, safe="", errors="surrogatepass")


def plain(text: str | None) -> str | None:
    """Text from elsewhere in a form every store can write (JSON may carry lone surrogates)."""
    return None if text is None else text.encode("utf-8", "backslashreplace").decode()


def state_set(states: Iterable[State]) -> str:
    """States as both stores search them: ``,served,settling,``."""
    return f",{','.join(states)},"


def milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def forget_at(step: Step) -> int | None:
    """When the record may go; None while it is to be kept."""
    return None if step.forget_at is None or step.forget_at >= FOREVER else max(step.forget_at, 0)


def encode_claim(claim: Claim) -> bytes:
    """What a claim fixes about a payment and no later step changes: a JSON line, then the terms."""
    head = json.dumps(
        [
            claim.rail,
            claim.route,
            claim.payer,
            claim.amount,
            claim.asset,
            claim.network,
            claim.queue,
            claim.expires_at,
            claim.idempotency_key,
        ]
    )
    return head.encode() + b"\n" + claim.terms


def history_mark(state: State, at: int) -> str:
    return f"{state}:{at},"


def _history(marks: str) -> tuple[tuple[State, int], ...]:
    pairs = (mark.split(":") for mark in marks.split(",") if mark)
    return tuple((State(state), int(at)) for state, at in pairs)


@dataclass(frozen=True, slots=True)
class Row:
    """A stored payment as both stores read it back; fields in this order."""

    id: str
    state: str
    fence: int
    attempts: int
    digest: str
    claim: bytes
    created_at: int
    updated_at: int
    leased_until: int
    transaction: str
    reason: str
    history: str

    def payment(self, read_at: int) -> Payment:
        head, _, terms = self.claim.partition(b"\n")
        rail, route, payer, amount, asset, network, queue, expires_at, idempotency_key = json.loads(head)
        return Payment(
            id=self.id,
            state=State(self.state),
            fence=self.fence,
            attempts=self.attempts,
            digest=self.digest,
            rail=rail,
            route=route,
            payer=payer,
            amount=amount,
            asset=asset,
            network=network,
            queue=queue,
            terms=terms,
            expires_at=expires_at,
            idempotency_key=idempotency_key,
            created_at=self.created_at,
            updated_at=self.updated_at,
            leased_until=self.leased_until,
            read_at=read_at,
            transaction=self.transaction,
            reason=self.reason,
            history=_history(self.history),
        )


def encode_outgoing(transaction: Outgoing) -> bytes:
    head = json.dumps([transaction.sender, transaction.nonce, transaction.hash, transaction.payment_id])
    return head.encode() + b"\n" + transaction.raw


def decode_outgoing(data: bytes) -> Outgoing:
    head, _, raw = data.partition(b"\n")
    sender, nonce, digest, payment_id = json.loads(head)
    return Outgoing(sender=sender, nonce=nonce, hash=digest, raw=raw, payment_id=payment_id)


def by_nonce(recorded: Iterable[bytes]) -> list[Outgoing]:
    """Lowest nonce first; a fee bump stays behind the transaction it replaces."""
    return sorted(map(decode_outgoing, recorded), key=lambda transaction: transaction.nonce)


def read_cursor(cursor: str | None) -> int | None:
    """The position behind a cursor; ClientError for one that no listing gave."""
    if cursor is None:
        return None
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= 18):
        raise ClientError("bad_cursor", "the cursor is not one that a listing gave")
    return int(cursor)

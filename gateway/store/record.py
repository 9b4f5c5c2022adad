"""How a payment is written down: what both stores share, so that they cannot disagree."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote, unquote

from facilitator.base import Outgoing
from gateway.errors import ClientError
from gateway.payment import LOSS_KEPT, Claim, Moment, Orphan, Payment, State
from gateway.store import SILENT, Step

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

SILENT_MS = round(SILENT * 1000)
LOSS_KEPT_MS = round(LOSS_KEPT * 1000)

ABANDONED_MS = 30_000
"""A claim whose lease has been dead for longer than this goes back to ``released``."""

INSTANCE_KEPT_MS = 24 * 3_600_000
"""An instance that gave no sign for longer than this is forgotten."""

MOST_EXPOSED = 2**50
"""Exposures and caps above it (a billion dollars) count as it: sums stay exact in both stores."""

ORPHANS = 1000
"""Orphans shown at most."""


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

    @property
    def owed_window(self) -> int:
        """How long an answer is kept that was never delivered: while either way to fetch it is open."""
        return max(self.replay_window, self.redeem_window)

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


def unlabel(text: str) -> str:
    """The text behind a ``label``."""
    return _unquoted(text) if "%" in text else text


@lru_cache(maxsize=4096)
def _unquoted(text: str) -> str:
    return unquote(text, errors="surrogatepass")


def request_key(claim: Claim) -> bytes:
    """Names the payer and the request together, short enough for an index."""
    return _short(claim.payer, claim.digest)


def idempotency_key(claim: Claim) -> bytes | None:
    """Names the payer, the route and its idempotency key together; None without a key."""
    if claim.idempotency_key is None:
        return None
    return _short(claim.payer, claim.route, claim.idempotency_key)


def _short(*parts: str) -> bytes:
    return hashlib.blake2b(":".join(map(label, parts)).encode(), digest_size=16).digest()


def void_at(claim: Claim) -> int:
    """When the authorization ends, in Unix milliseconds."""
    return min(max(claim.expires_at, 0) * 1000, FOREVER)


def exposed(amount: int) -> int:
    """An exposure or a cap as the stores add it up."""
    return min(amount, MOST_EXPOSED)


def plain(text: str | None) -> str | None:
    """Text from elsewhere in a form every store can write (JSON may carry lone surrogates)."""
    return None if text is None else text.encode("utf-8", "backslashreplace").decode()


@lru_cache(maxsize=64)
def state_set(states: frozenset[State]) -> str:
    """States as both stores search them, in one order: ``,served,settling,``."""
    return f",{','.join(sorted(states))},"


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


_STATES = {str(state): state for state in State}
_MOMENTS = {str(moment): moment for moment in Moment}
"""By name; asking the enumerations takes eight times as long."""
_read_json = json.JSONDecoder().raw_decode
"""What was written here begins and ends with the value: nothing needs to be skipped or guessed."""


def history_mark(state: State, at: int) -> str:
    return f"{state}:{at},"


def _history(marks: str) -> tuple[tuple[State, int], ...]:
    pairs = [mark.split(":") for mark in marks.split(",")[:-1]]
    return tuple([(_STATES[state], int(at)) for state, at in pairs])


class Row(NamedTuple):
    """A stored payment as both stores read it back; fields in this order.

    ``leased_until`` is 0 when the holder is dead; ``left`` is set when the client's instance is silent
    and the answer was not delivered.
    """

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
    moment: str
    client: str
    left: int
    delivered_at: int | None
    settled_at: int | None
    redemptions: int
    note: bytes

    def payment(self, read_at: int) -> Payment:
        head, _, terms = self.claim.partition(b"\n")
        fixed, _ = _read_json(head.decode())
        rail, route, payer, amount, asset, network, queue, expires_at, idempotency_key = fixed
        return Payment(
            id=self.id,
            state=_STATES[self.state],
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
            moment=_MOMENTS[self.moment],
            client=unlabel(self.client),
            left=bool(self.left),
            delivered_at=self.delivered_at,
            settled_at=self.settled_at,
            redemptions=self.redemptions,
            note=self.note,
        )


def encode_outgoing(transaction: Outgoing) -> bytes:
    head = json.dumps([transaction.sender, transaction.nonce, transaction.hash, *transaction.payment_ids])
    return head.encode() + b"\n" + transaction.raw


def decode_outgoing(data: bytes) -> Outgoing:
    head, _, raw = data.partition(b"\n")
    (sender, nonce, digest, *payment_ids), _ = _read_json(head.decode())
    return Outgoing(sender=sender, nonce=nonce, hash=digest, raw=raw, payment_ids=tuple(payment_ids))


def by_nonce(recorded: Iterable[bytes]) -> list[Outgoing]:
    """Lowest nonce first; a fee bump stays behind the transaction it replaces."""
    return sorted(map(decode_outgoing, recorded), key=lambda transaction: transaction.nonce)


def encode_orphan(orphan: Orphan) -> bytes:
    fields = (
        orphan.replay_key,
        orphan.network,
        orphan.asset,
        orphan.payer,
        orphan.amount,
        orphan.transaction,
    )
    return json.dumps(fields).encode()


def decode_orphan(data: bytes, found_at: int) -> Orphan:
    replay_key, network, asset, payer, amount, transaction = json.loads(data)
    return Orphan(replay_key, network, asset, payer, amount, transaction, found_at)


def read_cursor(cursor: str | None) -> int | None:
    """The position behind a cursor; ClientError for one that no listing gave."""
    if cursor is None:
        return None
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= 18):
        raise ClientError("bad_cursor", "the cursor is not one that a listing gave")
    return int(cursor)

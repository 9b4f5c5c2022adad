"""Claiming payments and letting go of claims, inside the transaction it is given."""

from __future__ import annotations

import sqlite3
from typing import Any

from gateway.payment import REDEEMABLE, Caps, Claim, Claimed, Lease, Standing, State
from gateway.store import sqlite_answers, sqlite_exposure
from gateway.store.record import (
    Limits,
    encode_claim,
    history_mark,
    idempotency_key,
    label,
    request_key,
    state_set,
    void_at,
)
from gateway.store.sqlite_purge import forget, release
from gateway.store.sqlite_rows import FORGOTTEN, LIVE, NEXT_IN_QUEUE, clock
from gateway.store.sqlite_standing import in_the_way

LOOK = f"""
SELECT (SELECT {FORGOTTEN} FROM payment WHERE id = :id),
    (SELECT group_concat(amount) FROM payment WHERE purse = :purse AND in_flight AND id <> :id),
    EXISTS (SELECT 1 FROM payment WHERE owed = :request)
"""
"""What most claims find: no record, nothing else in flight, nobody who waits for the same."""

FIRST = """
INSERT INTO payment (id, state, fence, attempts, digest, claim, amount, purse, route, queue, payer, request,
                     keyed, moment, exposed, void_at, created_at, updated_at, leased_until, holder, client,
                     in_flight, history)
VALUES (:id, 'reserved', :now, 1, :digest, :claim, :amount, :purse, :route, :queue, :payer, :request,
        :keyed, :moment, :exposed, :void_at, :now, :now, :until, :by, :by, 1, :mark)
"""

AGAIN = """
UPDATE payment SET
    state = 'reserved', fence = fence + 1, attempts = attempts + 1, claim = :claim, amount = :amount,
    purse = :purse, route = :route, queue = :queue, payer = :payer, request = :request, keyed = :keyed,
    moment = :moment, exposed = :exposed, void_at = :void_at, updated_at = :now, leased_until = :until,
    holder = :by, client = :by, gone = 0, delivered_at = NULL, in_flight = 1, reason = '', note = x'',
    history = history || :mark
WHERE id = :id
RETURNING fence, attempts, created_at
"""

REDEEM = f"""
UPDATE payment SET
    history = history || CASE WHEN state = 'serving' THEN '' ELSE :mark END,
    state = 'serving', fence = fence + 1, updated_at = :now, leased_until = :until, holder = :by,
    queued = queue, queue_seq = coalesce(queue_seq, {NEXT_IN_QUEUE})
WHERE id = :id AND redemptions < :most AND NOT {FORGOTTEN}
    AND (instr('{state_set(REDEEMABLE)}', ',' || state || ',') OR (state = 'serving' AND NOT {LIVE}))
RETURNING fence
"""


def reserve(
    db: sqlite3.Connection,
    claim: Claim,
    by: str,
    lease: int,
    max_attempts: int,
    caps: Caps | None,
    limits: Limits,
) -> Claimed | Standing:
    values = _values(claim, by, lease, max_attempts, limits)
    forgotten, amounts, owed = db.execute(LOOK, values).fetchone()
    known = forgotten == 0
    if forgotten:
        forget(db, values["id"])
    beside = in_the_way(db, values, known=known, owed=owed)
    if isinstance(beside, Standing):
        return beside
    if known:
        sqlite_exposure.withdraw(db, values["id"])
    moment = sqlite_exposure.moment(db, claim, caps)
    _take_over_key(db, values)
    values |= sqlite_exposure.recorded(claim, moment)
    fence, attempt, created_at = _again(db, values) if known else _first(db, values)
    return Claimed(Lease(values["id"], fence), attempt, created_at, _sum(amounts), moment, beside)


def _sum(amounts: str | None) -> int:
    """Not SQLite's: an amount may be as large as 2**256-1."""
    return sum(map(int, amounts.split(","))) if amounts else 0


def _values(claim: Claim, by: str, lease: int, max_attempts: int, limits: Limits) -> dict[str, Any]:
    now = clock()
    return {
        "id": claim.id,
        "digest": claim.digest,
        "claim": encode_claim(claim),
        "amount": str(claim.amount),
        "purse": label(claim.purse),
        "route": label(claim.route),
        "queue": label(claim.queue),
        "payer": label(claim.payer),
        "request": request_key(claim),
        "keyed": idempotency_key(claim),
        "void_at": void_at(claim),
        "by": label(by),
        "now": now,
        "until": now + lease,
        "redeemable_since": now - limits.redeem_window,
        "mark": history_mark(State.RESERVED, now),
        "max_attempts": max_attempts,
    }


def _take_over_key(db: sqlite3.Connection, values: dict[str, Any]) -> None:
    """A key names the record that was claimed with it last."""
    if values["keyed"] is not None:
        db.execute("UPDATE payment SET keyed = NULL WHERE keyed = :keyed AND id <> :id", values)


def _first(db: sqlite3.Connection, values: dict[str, Any]) -> tuple[int, int, int]:
    """Fence, attempt, time of the first."""
    db.execute(FIRST, values)
    return values["now"], 1, values["now"]


def _again(db: sqlite3.Connection, values: dict[str, Any]) -> tuple[int, int, int]:
    sqlite_answers.drop(db, values["id"])
    ((fence, attempt, created_at),) = db.execute(AGAIN, values).fetchall()
    return fence, attempt, created_at


def drop(db: sqlite3.Connection, lease: Lease, limits: Limits) -> bool:
    sql = """
        SELECT attempts, forget_at FROM payment
        WHERE id = ? AND fence = ? AND state = 'reserved' AND queued IS NULL"""
    payment_id = label(lease.payment_id)
    row = db.execute(sql, (payment_id, lease.fence)).fetchone()
    if row is None:
        return False
    attempts, forget_at = row
    if attempts == 1:
        forget(db, payment_id)
    else:
        release(db, payment_id, clock(), limits, forget_at)
    return True


def redeem(db: sqlite3.Connection, payment_id: str, by: str, lease: int, most: int) -> Lease | None:
    now = clock()
    values = {
        "id": label(payment_id),
        "by": label(by),
        "now": now,
        "until": now + lease,
        "most": most,
        "mark": history_mark(State.SERVING, now),
    }
    row = db.execute(REDEEM, values).fetchall()
    return Lease(payment_id, row[0][0]) if row else None

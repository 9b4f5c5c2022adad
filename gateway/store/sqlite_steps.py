"""What each call does to the file, inside the transaction it is given: payments and their answers."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence

from gateway.payment import READY, TAKEN_UP_AGAIN, Claim, Claimed, Lease, Payment, State
from gateway.store import Step
from gateway.store.record import (
    LISTING_SCAN,
    PURGE_BATCH,
    Limits,
    Row,
    encode_claim,
    forget_at,
    history_mark,
    label,
    plain,
    state_set,
)

COLUMNS = (
    "id, state, fence, attempts, digest, claim, created_at, updated_at, leased_until, tx, reason, history"
)
FORGOTTEN = "(forget_at IS NOT NULL AND forget_at <= :now AND NOT in_flight AND queued IS NULL)"

RESERVE = f"""
INSERT INTO payment (id, state, fence, attempts, digest, claim, amount, purse, route, queue,
                     created_at, updated_at, leased_until, in_flight, history)
VALUES (:id, 'reserved', :now, 1, :digest, :claim, :amount, :purse, :route, :queue,
        :now, :now, :until, 1, :mark)
ON CONFLICT (id) DO UPDATE SET
    state = 'reserved', fence = fence + 1, attempts = attempts + 1, claim = :claim, amount = :amount,
    purse = :purse, route = :route, queue = :queue, updated_at = :now, leased_until = :until,
    in_flight = 1, reason = '', history = history || :mark
WHERE digest = :digest AND attempts < :max_attempts AND NOT {FORGOTTEN}
    AND (state = 'released' OR (state = 'reserved' AND leased_until <= :now))
RETURNING seq, fence, attempts, created_at
"""

ADVANCE = f"""
UPDATE payment SET
    history = history || CASE WHEN state = :to THEN '' ELSE :mark END,
    state = :to, updated_at = :now, in_flight = :in_flight, forget_at = :forget_at,
    tx = coalesce(:tx, tx), reason = coalesce(:reason, reason),
    leased_until = CASE WHEN :keep_lease THEN leased_until ELSE 0 END,
    queued = CASE WHEN :queued IS NULL THEN queued WHEN :queued THEN coalesce(queued, queue) END,
    queue_seq = CASE WHEN :queued IS NULL THEN queue_seq WHEN :queued THEN coalesce(queue_seq,
        (SELECT coalesce(max(o.queue_seq), 0) + 1 FROM payment o WHERE o.queued = payment.queue)) END
WHERE id = :id AND fence = :fence AND instr(:since, ',' || state || ',') AND NOT {FORGOTTEN}
RETURNING seq
"""

DUE = f"""
UPDATE payment SET
    history = history || CASE WHEN state = :ready THEN :mark ELSE '' END,
    state = CASE WHEN state = :ready THEN :to ELSE state END,
    fence = fence + 1, updated_at = :now, leased_until = :until
WHERE seq IN (
    SELECT seq FROM payment
    WHERE queued = :queue
        AND (state = :ready OR (leased_until <= :now AND instr(:again, ',' || state || ',')))
    ORDER BY queue_seq LIMIT :limit)
RETURNING queue_seq, {COLUMNS}
"""


def clock() -> int:
    return time.time_ns() // 1_000_000


def _micros() -> int:
    """Finer, so that answers made free in one millisecond still have an order."""
    return time.time_ns() // 1_000


def find(db: sqlite3.Connection, payment_id: str) -> Payment | None:
    now = clock()
    values = {"id": label(payment_id), "now": now}
    sql = f"SELECT {COLUMNS} FROM payment WHERE id = :id AND NOT {FORGOTTEN}"
    row = db.execute(sql, values).fetchone()
    return Row(*row).payment(now) if row else None


def reserve(db: sqlite3.Connection, claim: Claim, lease: int, max_attempts: int) -> Claimed | Payment:
    now = clock()
    payment_id = claim.id
    values = {
        "id": payment_id,
        "digest": claim.digest,
        "claim": encode_claim(claim),
        "amount": str(claim.amount),
        "purse": label(claim.purse),
        "route": label(claim.route),
        "queue": label(claim.queue),
        "now": now,
        "until": now + lease,
        "mark": history_mark(State.RESERVED, now),
        "max_attempts": max_attempts,
    }
    row = db.execute(RESERVE, values).fetchone()
    if row is None:
        if standing := find(db, payment_id):
            return standing
        _forget_expired(db, payment_id)
        row = db.execute(RESERVE, values).fetchone()
    seq, fence, attempt, created_at = row
    if attempt > 1:
        db.execute("DELETE FROM answer WHERE seq = ?", (seq,))
    others = _amounts(db, values["purse"], seq)
    return Claimed(Lease(payment_id, fence), attempt, created_at, others)


def _amounts(db: sqlite3.Connection, purse: object, besides: int) -> int:
    """Summed here: an amount may be as large as 2**256-1."""
    sql = "SELECT amount FROM payment WHERE purse = ? AND in_flight AND seq <> ?"
    return sum(int(amount) for (amount,) in db.execute(sql, (purse, besides)))


def in_flight(db: sqlite3.Connection, purse: str) -> list[Payment]:
    now = clock()
    sql = f"SELECT {COLUMNS} FROM payment WHERE purse = ? AND in_flight ORDER BY seq"
    return [Row(*row).payment(now) for row in db.execute(sql, (label(purse),))]


def drop(db: sqlite3.Connection, lease: Lease, limits: Limits) -> bool:
    sql = "SELECT seq, attempts FROM payment WHERE id = ? AND fence = ? AND state = 'reserved'"
    row = db.execute(sql, (label(lease.payment_id), lease.fence)).fetchone()
    if row is None:
        return False
    seq, attempts = row
    if attempts == 1:
        forget(db, seq, label(lease.payment_id))
    else:
        _release(db, seq, limits)
    return True


def _release(db: sqlite3.Connection, seq: int, limits: Limits) -> None:
    """Back to ``released``, with the lifetime it had there before."""
    now = clock()
    db.execute(
        "UPDATE payment SET state = 'released', updated_at = ?, leased_until = 0, in_flight = 0,"
        " history = history || ?, forget_at = coalesce(forget_at, ?) WHERE seq = ?",
        (now, history_mark(State.RELEASED, now), now + limits.replay_window, seq),
    )


def advance(db: sqlite3.Connection, lease: Lease, step: Step, limits: Limits) -> bool:
    now = clock()
    values = {
        "id": label(lease.payment_id),
        "fence": lease.fence,
        "since": state_set(step.since),
        "to": step.to,
        "mark": history_mark(step.to, now),
        "now": now,
        "in_flight": step.in_flight,
        "forget_at": forget_at(step),
        "tx": plain(step.transaction),
        "reason": plain(step.reason),
        "keep_lease": step.keep_lease,
        "queued": step.queued,
    }
    row = db.execute(ADVANCE, values).fetchall()
    if not row:
        return False
    _keep_answer(db, row[0][0], step, limits)
    return True


def _keep_answer(db: sqlite3.Connection, seq: int, step: Step, limits: Limits) -> None:
    """An answer may make room for others only once its payment is no longer in flight."""
    free_at = None if step.in_flight else _micros()
    if (answer := limits.kept(step.answer)) is not None:
        db.execute("DELETE FROM answer WHERE seq = ?", (seq,))
        db.execute("INSERT INTO answer VALUES (?, ?, ?)", (seq, answer, free_at))
        _make_room(db, limits.max_answers)
    elif step.in_flight:
        db.execute("UPDATE answer SET free_at = NULL WHERE seq = ? AND free_at IS NOT NULL", (seq,))
    else:
        db.execute("UPDATE answer SET free_at = ? WHERE seq = ? AND free_at IS NULL", (free_at, seq))
        _make_room(db, limits.max_answers)


def _make_room(db: sqlite3.Connection, most: int) -> None:
    oldest = "SELECT seq FROM answer WHERE free_at IS NOT NULL ORDER BY free_at, seq LIMIT 1"
    while db.execute("SELECT bytes > ? FROM answers", (most,)).fetchone()[0]:
        if not db.execute(f"DELETE FROM answer WHERE seq = ({oldest})").rowcount:
            return


def renew(db: sqlite3.Connection, leases: Sequence[Lease], lease: int) -> frozenset[str]:
    """A lease that a step has ended stays ended: renewing it late must not keep others away."""
    now = clock()
    sql = f"""
        UPDATE payment SET leased_until = CASE WHEN leased_until THEN max(leased_until, :until) ELSE 0 END
        WHERE id = :id AND fence = :fence AND NOT {FORGOTTEN} RETURNING id"""
    ours: set[str] = set()
    for held in leases:
        values = {"until": now + lease, "id": label(held.payment_id), "fence": held.fence, "now": now}
        ours.update(payment_id for (payment_id,) in db.execute(sql, values).fetchall())
    return frozenset(ours)


def due(db: sqlite3.Connection, queue: str, limit: int, lease: int) -> list[Payment]:
    now = clock()
    values = {
        "queue": label(queue),
        "limit": limit,
        "now": now,
        "until": now + lease,
        "to": State.SETTLING,
        "mark": history_mark(State.SETTLING, now),
        "ready": READY,
        "again": state_set(TAKEN_UP_AGAIN),
    }
    rows = sorted(db.execute(DUE, values).fetchall())
    return [Row(*row[1:]).payment(now) for row in rows]


def states(db: sqlite3.Connection, payment_ids: Sequence[str]) -> dict[str, State]:
    now = clock()
    sql = f"SELECT state FROM payment WHERE id = :id AND NOT {FORGOTTEN}"
    found = ((key, db.execute(sql, {"id": label(key), "now": now}).fetchone()) for key in payment_ids)
    return {key: State(row[0]) for key, row in found if row}


def listing(
    db: sqlite3.Connection, state: State | None, route: str | None, limit: int, before: int | None
) -> tuple[list[Payment], str | None]:
    """By state, the route is filtered here, over at most LISTING_SCAN rows: others wait behind us."""
    now = clock()
    place = None if route is None else label(route)
    scan = max(limit, LISTING_SCAN)
    values = {"now": now, "state": state, "route": place, "before": before, "scan": scan}
    found: list[Payment] = []
    rows = db.execute(_listing_sql(state, route, before), values)
    for looked, (seq, its_route, gone, *row) in enumerate(rows, start=1):
        if not gone and (place is None or its_route == place):
            found.append(Row(*row).payment(now))
        if len(found) == limit or looked == scan:
            return found, str(seq)
    return found, None


def _listing_sql(state: State | None, route: str | None, before: int | None) -> str:
    conditions = ["TRUE"]
    if state is not None:
        conditions.append("state = :state")
    elif route is not None:
        conditions.append("route = :route")
    if before is not None:
        conditions.append("seq < :before")
    where = " AND ".join(conditions)
    return f"""
        SELECT seq, route, {FORGOTTEN}, {COLUMNS} FROM payment
        WHERE {where} ORDER BY seq DESC LIMIT :scan"""


def answer(db: sqlite3.Connection, payment_id: str, limits: Limits) -> bytes | None:
    now = clock()
    sql = f"""
        SELECT body FROM answer JOIN payment USING (seq)
        WHERE id = :id AND NOT {FORGOTTEN} AND (free_at IS NULL OR free_at > :oldest)"""
    values = {"id": label(payment_id), "now": now, "oldest": _micros() - limits.replay_window * 1000}
    row = db.execute(sql, values).fetchone()
    return bytes(row[0]) if row else None


def forget(db: sqlite3.Connection, seq: int, payment_id: str) -> None:
    """Remove a payment and what belongs to it; a transaction still under way outlives it."""
    db.execute("DELETE FROM payment WHERE seq = ?", (seq,))
    db.execute("DELETE FROM answer WHERE seq = ?", (seq,))
    db.execute("DELETE FROM outgoing WHERE payment_id = ? AND closed", (payment_id,))


def _forget_expired(db: sqlite3.Connection, payment_id: str | None = None) -> int:
    sql = f"SELECT seq, id FROM payment WHERE {FORGOTTEN} AND coalesce(id = :id, TRUE) LIMIT :limit"
    values = {"now": clock(), "id": payment_id, "limit": PURGE_BATCH}
    expired = db.execute(sql, values).fetchall()
    for seq, found in expired:
        forget(db, seq, found)
    return len(expired)


def purge(db: sqlite3.Connection, limits: Limits) -> bool:
    """Forget some of what may be forgotten; True when there may be more."""
    expired = _forget_expired(db)
    stale = "SELECT seq FROM answer WHERE free_at <= ? ORDER BY free_at LIMIT ?"
    values = (_micros() - limits.replay_window * 1000, PURGE_BATCH)
    dropped = db.execute(f"DELETE FROM answer WHERE seq IN ({stale})", values).rowcount
    db.execute("DELETE FROM outgoing WHERE forget_at <= ? AND closed", (clock(),))
    return max(expired, dropped) == PURGE_BATCH

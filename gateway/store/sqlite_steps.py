"""Steps of payments under way, inside the transaction it is given."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from gateway.payment import READY, TAKEN_UP_AGAIN, TO_SETTLE, Lease, Payment, State
from gateway.store import Step, sqlite_answers, sqlite_exposure
from gateway.store.record import Limits, Row, forget_at, history_mark, label, plain, state_set
from gateway.store.sqlite_rows import COLUMNS, FORGOTTEN, LIVE, NEXT_IN_QUEUE, clock

ADVANCE = f"""
UPDATE payment SET
    history = history || CASE WHEN state = :to THEN '' ELSE :mark END,
    state = :to, updated_at = :now, in_flight = :in_flight, forget_at = :forget_at,
    settled_at = CASE WHEN :to = '{State.SETTLED}' THEN coalesce(settled_at, :now) ELSE settled_at END,
    redemptions = redemptions + :redeemed,
    exposed = CASE WHEN :in_flight OR :lost THEN exposed ELSE 0 END,
    tx = coalesce(:tx, tx), reason = coalesce(:reason, reason), note = coalesce(:note, note),
    leased_until = CASE WHEN :keep_lease THEN leased_until ELSE 0 END,
    queued = CASE WHEN :queued IS NULL THEN queued WHEN :queued THEN coalesce(queued, queue) END,
    queue_seq = CASE WHEN :queued IS NULL THEN queue_seq
        WHEN :queued THEN coalesce(queue_seq, {NEXT_IN_QUEUE}) END
WHERE id = :id AND fence = :fence AND instr(:since, ',' || state || ',') AND NOT {FORGOTTEN}
    AND NOT (state = 'reserved' AND queued IS NULL AND NOT {LIVE})
"""

RENEW = f"""
UPDATE payment SET leased_until = max(leased_until, :until)
WHERE id = :id AND fence = :fence AND {LIVE} AND NOT {FORGOTTEN}
"""

BEGINS = f"instr('{state_set(TO_SETTLE)}', ',' || state || ',')"
DUE = f"""
UPDATE payment SET
    history = history || CASE WHEN {BEGINS} THEN :mark ELSE '' END,
    state = CASE WHEN {BEGINS} THEN :to ELSE state END,
    fence = fence + 1, updated_at = :now, leased_until = :until, holder = :by
WHERE seq IN (
    SELECT seq FROM payment
    WHERE queued = :queue AND (state = '{READY}'
        OR (instr('{state_set(TAKEN_UP_AGAIN)}', ',' || state || ',') AND NOT {LIVE}))
    ORDER BY queue_seq LIMIT :limit)
RETURNING queue_seq, {COLUMNS}
"""

LEFT = f"UPDATE payment SET gone = 1 WHERE id = :id AND delivered_at IS NULL AND NOT {FORGOTTEN}"


def advance(db: sqlite3.Connection, lease: Lease, step: Step, limits: Limits) -> bool:
    now = clock()
    payment_id = label(lease.payment_id)
    values = {
        "id": payment_id,
        "fence": lease.fence,
        "since": state_set(step.since),
        "to": step.to,
        "mark": history_mark(step.to, now),
        "now": now,
        "in_flight": step.in_flight,
        "forget_at": forget_at(step),
        "tx": plain(step.transaction),
        "reason": plain(step.reason),
        "note": step.note,
        "keep_lease": step.keep_lease,
        "queued": step.queued,
        "lost": step.lost,
        "redeemed": step.redeemed,
    }
    if not db.execute(ADVANCE, values).rowcount:
        return False
    if step.lost:
        sqlite_exposure.lose(db, payment_id, now)
    if step.to is State.SETTLED:
        sqlite_exposure.recover(db, payment_id)
    sqlite_answers.keep(db, payment_id, step, limits)
    return True


def renew(db: sqlite3.Connection, leases: Sequence[Lease], lease: int) -> frozenset[str]:
    """A lease that has ended stays ended: others may have acted on that."""
    now = clock()
    ours: set[str] = set()
    for held in leases:
        values = {"until": now + lease, "id": label(held.payment_id), "fence": held.fence, "now": now}
        if db.execute(RENEW, values).rowcount:
            ours.add(held.payment_id)
    return frozenset(ours)


def due(db: sqlite3.Connection, queue: str, by: str, limit: int, lease: int) -> list[Payment]:
    now = clock()
    values = {
        "queue": label(queue),
        "by": label(by),
        "limit": limit,
        "now": now,
        "until": now + lease,
        "to": State.SETTLING,
        "mark": history_mark(State.SETTLING, now),
    }
    rows = sorted(db.execute(DUE, values).fetchall())
    return [Row(*row[1:]).payment(now) for row in rows]


def mark(db: sqlite3.Connection, delivered: Sequence[str], left: Sequence[str], limits: Limits) -> None:
    """Delivered first: a client that took its answer and then left did not go without."""
    if delivered:
        sqlite_answers.mark_delivered(db, delivered, limits)
    now = clock()
    db.executemany(LEFT, [{"id": label(payment_id), "now": now} for payment_id in left])

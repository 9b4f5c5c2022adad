"""Forgetting: what is past its time, and what somebody left behind."""

from __future__ import annotations

import sqlite3

from gateway.payment import State
from gateway.store import sqlite_answers, sqlite_exposure, sqlite_facts, sqlite_instances
from gateway.store.record import ABANDONED_MS, PURGE_BATCH, Limits, history_mark
from gateway.store.sqlite_leases import WANTED
from gateway.store.sqlite_rows import FORGOTTEN, clock

ABANDONED = """
SELECT id FROM payment
WHERE state = 'reserved' AND queued IS NULL AND leased_until <= :before AND updated_at <= :before LIMIT :limit
"""

FORGET_OUTGOING = f"""
DELETE FROM outgoing WHERE closed AND seq IN (SELECT seq FROM outgoing_for WHERE payment_id = ?)
    AND NOT {WANTED}
"""

RELEASE = """
UPDATE payment SET state = 'released', fence = fence + 1, updated_at = :now, leased_until = 0, in_flight = 0,
    exposed = 0, history = history || :mark, forget_at = coalesce(:forget_at, min(void_at, :now + :kept))
WHERE id = :id
"""


def purge(db: sqlite3.Connection, limits: Limits) -> bool:
    """Forget some of what may be forgotten; True when there may be more."""
    now = clock()
    expired = _forget_expired(db, now)
    stale = sqlite_answers.drop_stale(db, limits)
    abandoned = _release_abandoned(db, now, limits)
    db.execute("DELETE FROM outgoing WHERE forget_at <= ? AND closed", (now,))
    facts = sqlite_facts.drop_expired(db, now)
    sqlite_exposure.forget_losses(db, now)
    sqlite_instances.forget_silent(db, now)
    return max(expired, stale, abandoned, facts) == PURGE_BATCH


def forget(db: sqlite3.Connection, payment_id: str) -> None:
    """Remove a payment and what belongs to it; a transaction still under way outlives it."""
    sqlite_answers.drop(db, payment_id)
    db.execute("DELETE FROM payment WHERE id = ?", (payment_id,))
    db.execute(FORGET_OUTGOING, (payment_id,))


def _forget_expired(db: sqlite3.Connection, now: int) -> int:
    sql = f"SELECT id FROM payment WHERE {FORGOTTEN} LIMIT :limit"
    expired = db.execute(sql, {"now": now, "limit": PURGE_BATCH}).fetchall()
    for (payment_id,) in expired:
        forget(db, payment_id)
    return len(expired)


def _release_abandoned(db: sqlite3.Connection, now: int, limits: Limits) -> int:
    found = db.execute(ABANDONED, {"before": now - ABANDONED_MS, "limit": PURGE_BATCH}).fetchall()
    for (payment_id,) in found:
        release(db, payment_id, now, limits)
    return len(found)


def release(
    db: sqlite3.Connection, payment_id: str, now: int, limits: Limits, forget_at: int | None = None
) -> None:
    """Back to ``released``, for as long as said, else until it is void or nobody will come back for it.

    Who had claimed it may only sleep: its fence is gone, too.
    """
    values = {
        "id": payment_id,
        "now": now,
        "mark": history_mark(State.RELEASED, now),
        "forget_at": forget_at,
        "kept": limits.released,
    }
    db.execute(RELEASE, values)
    sqlite_answers.set_spare(db, payment_id, limits)

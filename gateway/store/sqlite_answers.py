"""Stored answers: how long each is kept, and which make room for others.

``free_at`` is when the payment was no longer in flight (microseconds): the windows begin then.
``spare`` answers are delivered, or nobody paid for them: only they make room.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from gateway.payment import OWED
from gateway.store import Step
from gateway.store.record import PURGE_BATCH, Limits, label
from gateway.store.sqlite_rows import FORGOTTEN, clock, micros

FILE = """
UPDATE answer SET free_at = CASE WHEN :free THEN coalesce(free_at, :micros) END, spare = :spare
WHERE seq = :seq AND (spare <> :spare OR (free_at IS NOT NULL) <> :free)
"""

DELIVERED = f"""
UPDATE payment SET delivered_at = :now WHERE id = :id AND delivered_at IS NULL AND NOT {FORGOTTEN}
RETURNING seq, in_flight
"""

ANSWER = f"""
SELECT body FROM answer JOIN payment USING (seq)
WHERE id = :id AND NOT {FORGOTTEN}
    AND (free_at IS NULL OR free_at > :micros - 1000 * CASE WHEN spare THEN :replay ELSE :owed END)
"""

STALE = """
DELETE FROM answer WHERE seq IN
    (SELECT seq FROM answer WHERE spare = ? AND free_at <= ? ORDER BY free_at LIMIT ?)
"""


def answer(db: sqlite3.Connection, payment_id: str, limits: Limits) -> bytes | None:
    values = {
        "id": label(payment_id),
        "now": clock(),
        "micros": micros(),
        "replay": limits.replay_window,
        "owed": limits.owed_window,
    }
    row = db.execute(ANSWER, values).fetchone()
    return bytes(row[0]) if row else None


def keep(db: sqlite3.Connection, seq: int, step: Step, delivered: bool, limits: Limits) -> None:
    """Store what a step brings, and file what is there as the step says."""
    free = not step.in_flight
    spare = free and (delivered or step.to not in OWED)
    body = limits.kept(step.answer)
    if body is None:
        _file(db, seq, free, spare, limits)
        return
    drop(db, seq)
    db.execute("INSERT INTO answer VALUES (?, ?, ?, ?)", (seq, body, micros() if free else None, spare))
    _make_room(db, limits)


def set_spare(db: sqlite3.Connection, seq: int, limits: Limits) -> None:
    """The answer, if there is one, may make room: nobody waits for it any more."""
    _file(db, seq, True, True, limits)


def _file(db: sqlite3.Connection, seq: int, free: bool, spare: bool, limits: Limits) -> None:
    values = {"seq": seq, "free": free, "spare": spare, "micros": micros()}
    if db.execute(FILE, values).rowcount:
        _make_room(db, limits)


def mark_delivered(db: sqlite3.Connection, payment_ids: Sequence[str], limits: Limits) -> None:
    """Delivered answers are no longer owed, and make room once their payment is not in flight."""
    now = clock()
    for payment_id in payment_ids:
        for seq, flying in db.execute(DELIVERED, {"id": label(payment_id), "now": now}).fetchall():
            if not flying:
                set_spare(db, seq, limits)


def drop(db: sqlite3.Connection, seq: int) -> None:
    db.execute("DELETE FROM answer WHERE seq = ?", (seq,))


def drop_stale(db: sqlite3.Connection, limits: Limits) -> int:
    """Drop some of those whose window has passed; the larger number of the two kinds."""
    now = micros()
    windows = ((True, limits.replay_window), (False, limits.owed_window))
    return max(
        db.execute(STALE, (spare, now - window * 1000, PURGE_BATCH)).rowcount for spare, window in windows
    )


def _make_room(db: sqlite3.Connection, limits: Limits) -> None:
    oldest = "SELECT seq FROM answer WHERE spare AND free_at IS NOT NULL ORDER BY free_at, seq LIMIT 1"
    while db.execute("SELECT bytes > ? FROM answers", (limits.max_answers,)).fetchone()[0]:
        if not db.execute(f"DELETE FROM answer WHERE seq = ({oldest})").rowcount:
            return

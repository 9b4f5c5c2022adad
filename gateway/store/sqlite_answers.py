"""Stored answers: how long each is kept, and which make room for others.

``free_at`` is when the payment was no longer in flight (microseconds): the windows begin then.
``spare`` answers are delivered, or nobody paid for them: only they make room.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence

from gateway.payment import OWED
from gateway.store import Step
from gateway.store.record import PURGE_BATCH, Limits, label
from gateway.store.sqlite_rows import AMONG, FORGOTTEN, clock, micros

SPARE = "(:free AND (:unowed OR delivered_at IS NOT NULL))"
KEEP = f"""
INSERT INTO answer SELECT seq, :body, CASE WHEN :free THEN :micros END, {SPARE} FROM payment WHERE id = :id
ON CONFLICT (seq) DO NOTHING
"""

FILE = f"""
UPDATE answer SET free_at = CASE WHEN :free THEN coalesce(free_at, :micros) END, spare = now.spare
FROM (SELECT seq, {SPARE} AS spare FROM payment WHERE id = :id) AS now
WHERE answer.seq = now.seq AND (answer.spare <> now.spare OR (free_at IS NOT NULL) <> :free)
"""

DELIVERED = f"""
UPDATE payment SET delivered_at = :now WHERE id {AMONG} AND delivered_at IS NULL AND NOT {FORGOTTEN}
"""

TAKEN = f"""
UPDATE answer SET free_at = coalesce(free_at, :micros), spare = TRUE
WHERE NOT spare AND seq IN
    (SELECT seq FROM payment WHERE id {AMONG} AND delivered_at IS NOT NULL AND NOT in_flight)
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


def keep(db: sqlite3.Connection, payment_id: str, step: Step, limits: Limits) -> None:
    """Store what a step brings, or file what is there as the step says."""
    values = {
        "id": payment_id,
        "free": not step.in_flight,
        "unowed": step.to not in OWED,
        "micros": micros(),
        "body": limits.kept(step.answer),
    }
    if values["body"] is None:
        _file(db, values, limits)
        return
    if not db.execute(KEEP, values).rowcount:  # it takes an earlier one's place
        drop(db, payment_id)
        db.execute(KEEP, values)
    _make_room(db, limits)


def set_spare(db: sqlite3.Connection, payment_id: str, limits: Limits) -> None:
    """The answer, if there is one, may make room: nobody waits for it any more."""
    _file(db, {"id": payment_id, "free": True, "unowed": True, "micros": micros()}, limits)


def _file(db: sqlite3.Connection, values: Mapping[str, object], limits: Limits) -> None:
    if db.execute(FILE, values).rowcount:
        _make_room(db, limits)


def mark_delivered(db: sqlite3.Connection, payment_ids: Sequence[str], limits: Limits) -> None:
    """Delivered answers are no longer owed, and make room once their payment is not in flight."""
    among = json.dumps([label(payment_id) for payment_id in payment_ids])
    values = {"among": among, "now": clock(), "micros": micros()}
    if db.execute(DELIVERED, values).rowcount and db.execute(TAKEN, values).rowcount:
        _make_room(db, limits)


def drop(db: sqlite3.Connection, payment_id: str) -> None:
    db.execute("DELETE FROM answer WHERE seq = (SELECT seq FROM payment WHERE id = ?)", (payment_id,))


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

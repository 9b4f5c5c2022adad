"""Small facts a rail keeps, each until its time."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from gateway.store.record import PURGE_BATCH, label
from gateway.store.sqlite_rows import clock

EXPIRED = "DELETE FROM fact WHERE name IN (SELECT name FROM fact WHERE until <= ? ORDER BY until LIMIT ?)"


def remember(db: sqlite3.Connection, name: str, value: bytes, kept: int) -> None:
    """One that is over already is purged, and not recalled before that."""
    db.execute("INSERT OR REPLACE INTO fact VALUES (?, ?, ?)", (label(name), value, clock() + kept))


def forget(db: sqlite3.Connection, name: str) -> None:
    db.execute("DELETE FROM fact WHERE name = ?", (label(name),))


def recall(db: sqlite3.Connection, names: Sequence[str]) -> list[bytes | None]:
    now = clock()
    sql = "SELECT value FROM fact WHERE name = ? AND until > ?"
    found = (db.execute(sql, (label(name), now)).fetchone() for name in names)
    return [None if row is None else row[0] for row in found]


def drop_expired(db: sqlite3.Connection, now: int) -> int:
    """Drop some of those whose time is over; how many."""
    return db.execute(EXPIRED, (now, PURGE_BATCH)).rowcount

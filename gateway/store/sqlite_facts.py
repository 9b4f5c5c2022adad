"""Small facts a rail keeps, each until its time."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

from gateway.store.record import PURGE_BATCH, label
from gateway.store.sqlite_rows import AMONG, clock

EXPIRED = "DELETE FROM fact WHERE name IN (SELECT name FROM fact WHERE until <= ? ORDER BY until LIMIT ?)"


def remember(db: sqlite3.Connection, name: str, value: bytes, kept: int) -> None:
    """One that is over already is purged, and not recalled before that."""
    db.execute("INSERT OR REPLACE INTO fact VALUES (?, ?, ?)", (label(name), value, clock() + kept))


def forget(db: sqlite3.Connection, name: str) -> None:
    db.execute("DELETE FROM fact WHERE name = ?", (label(name),))


def recall(db: sqlite3.Connection, names: Sequence[str]) -> list[bytes | None]:
    sql = f"SELECT name, value FROM fact WHERE name {AMONG} AND until > :now"
    asked = [label(name) for name in names]
    found = dict(db.execute(sql, {"among": json.dumps(asked), "now": clock()}).fetchall())
    return [found.get(name) for name in asked]


def drop_expired(db: sqlite3.Connection, now: int) -> int:
    """Drop some of those whose time is over; how many."""
    return db.execute(EXPIRED, (now, PURGE_BATCH)).rowcount

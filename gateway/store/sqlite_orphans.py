"""Money without a payment, for the operator."""

from __future__ import annotations

import sqlite3

from gateway.payment import Orphan, payment_id
from gateway.store.record import ORPHANS, decode_orphan, encode_orphan
from gateway.store.sqlite_rows import FORGOTTEN, clock

NOTE = f"""
INSERT INTO orphan (id, body, found_at) SELECT :id, :body, :now
WHERE NOT EXISTS (SELECT 1 FROM payment WHERE id = :id AND NOT {FORGOTTEN})
ON CONFLICT (id) DO NOTHING
"""


def note(db: sqlite3.Connection, orphan: Orphan) -> bool:
    values = {"id": payment_id(orphan.replay_key), "body": encode_orphan(orphan), "now": clock()}
    return db.execute(NOTE, values).rowcount > 0


def newest(db: sqlite3.Connection) -> list[Orphan]:
    rows = db.execute("SELECT body, found_at FROM orphan ORDER BY seq DESC LIMIT ?", (ORPHANS,))
    return [decode_orphan(body, found_at) for body, found_at in rows]

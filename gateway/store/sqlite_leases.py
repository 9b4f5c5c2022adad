"""What each call does to the file, inside the transaction it is given: named leases and transactions."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Sequence

from facilitator.base import Outgoing
from gateway.store.record import Limits, by_nonce, decode_outgoing, encode_outgoing, label
from gateway.store.sqlite_rows import AMONG, clock

FREE = "(until <= :now OR NOT EXISTS (SELECT 1 FROM instance WHERE name = owner))"
HOLD = f"""
INSERT INTO hold VALUES (:name, :owner, 1, :until)
ON CONFLICT (name) DO UPDATE SET
    epoch = epoch + {FREE}, owner = :owner,
    until = CASE WHEN {FREE} THEN :until ELSE max(until, :until) END
WHERE {FREE} OR owner = :owner
RETURNING epoch
"""

RECORD = f"""
INSERT INTO outgoing (digest, sender, body, closed)
SELECT :digest, :sender, :body, :closed
WHERE EXISTS (SELECT 1 FROM hold WHERE name = :sender AND epoch = :epoch AND NOT {FREE})
ON CONFLICT (digest) DO UPDATE SET closed = :closed, forget_at = NULL
"""

SHARE = "INSERT OR IGNORE INTO outgoing_for SELECT ?, seq FROM outgoing WHERE digest = ?"

WANTED = """
EXISTS (SELECT 1 FROM outgoing_for AS its JOIN payment ON payment.id = its.payment_id
    WHERE its.seq = outgoing.seq)
"""
"""Whether any of a transaction's payments is still on record."""

CLOSE = f"""
UPDATE outgoing SET closed = 1, forget_at = CASE WHEN {WANTED} THEN NULL ELSE :forget_at END
WHERE digest = :digest
"""


def hold(db: sqlite3.Connection, name: str, owner: str, lease: int) -> int | None:
    now = clock()
    values = {"name": label(name), "owner": label(owner), "now": now, "until": now + lease}
    row = db.execute(HOLD, values).fetchall()
    return row[0][0] if row else None


def give_up(db: sqlite3.Connection, name: str, owner: str) -> None:
    db.execute("UPDATE hold SET until = 0 WHERE name = ? AND owner = ?", (label(name), label(owner)))


def record(db: sqlite3.Connection, epoch: int, transaction: Outgoing) -> bool:
    body = encode_outgoing(transaction)
    digest = hashlib.sha256(body).digest()
    values = {
        "digest": digest,
        "sender": label(transaction.sender),
        "body": body,
        "epoch": epoch,
        "closed": not transaction.open,
        "now": clock(),
    }
    if not db.execute(RECORD, values).rowcount:
        return False
    db.executemany(SHARE, [(label(payment_id), digest) for payment_id in transaction.payment_ids])
    return True


def close(db: sqlite3.Connection, transaction: Outgoing, limits: Limits) -> None:
    """A closed transaction goes with its last payment; one whose payments are gone, after the replay
    window."""
    digest = hashlib.sha256(encode_outgoing(transaction)).digest()
    db.execute(CLOSE, {"digest": digest, "forget_at": clock() + limits.replay_window})


def opened(db: sqlite3.Connection, sender: str) -> list[Outgoing]:
    sql = "SELECT body FROM outgoing WHERE sender = ? AND NOT closed ORDER BY seq"
    return by_nonce(body for (body,) in db.execute(sql, (label(sender),)))


def of(db: sqlite3.Connection, payment_id: str) -> list[Outgoing]:
    sql = "SELECT body FROM outgoing_for JOIN outgoing USING (seq) WHERE payment_id = ? ORDER BY seq"
    return [decode_outgoing(body) for (body,) in db.execute(sql, (label(payment_id),))]


def recorded(db: sqlite3.Connection, payment_ids: Sequence[str]) -> frozenset[str]:
    sql = f"SELECT DISTINCT payment_id FROM outgoing_for WHERE payment_id {AMONG}"
    asked = {label(payment_id): payment_id for payment_id in payment_ids}
    rows = db.execute(sql, {"among": json.dumps(list(asked))})
    return frozenset(asked[payment_id] for (payment_id,) in rows)

"""Reading payments from the file, and the words all its statements share.

The words expect ``:now``, the clock in milliseconds.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Sequence

from gateway.payment import Payment, State
from gateway.store.record import LISTING_SCAN, SILENT_MS, Row, label

ALIVE = "EXISTS (SELECT 1 FROM instance WHERE name = holder)"
NEXT_IN_QUEUE = "(SELECT coalesce(max(o.queue_seq), 0) + 1 FROM payment o WHERE o.queued = payment.queue)"
"""The last place in the payment's queue."""

LIVE = f"(leased_until > :now AND {ALIVE})"
"""Somebody holds the payment."""

GONE = f"""(gone OR NOT EXISTS (
    SELECT 1 FROM instance WHERE name = client AND seen_at >= :now - {SILENT_MS}))"""
"""The client will not take the answer."""

FORGOTTEN = "(forget_at IS NOT NULL AND forget_at <= :now AND NOT in_flight AND queued IS NULL)"
OPEN = f"(state = 'released' OR (state = 'reserved' AND queued IS NULL AND NOT {LIVE}))"
"""Nobody works on the payment, and its money cannot move."""

COLUMNS = f"""
    id, state, fence, attempts, digest, claim, created_at, updated_at,
    CASE WHEN {ALIVE} THEN leased_until ELSE 0 END, tx, reason, history, moment, client,
    gone OR (delivered_at IS NULL AND {GONE}), delivered_at, settled_at, redemptions, note"""
"""The fields of gateway.store.record.Row, in its order."""

AMONG = "IN (SELECT value FROM json_each(:among))"
"""One of many (a JSON list of labels), in one statement."""


def clock() -> int:
    return time.time_ns() // 1_000_000


def micros() -> int:
    """Finer, so that answers made free in one millisecond still have an order."""
    return time.time_ns() // 1_000


def find(db: sqlite3.Connection, payment_id: str) -> Payment | None:
    now = clock()
    sql = f"SELECT {COLUMNS} FROM payment WHERE id = :id AND NOT {FORGOTTEN}"
    row = db.execute(sql, {"id": label(payment_id), "now": now}).fetchone()
    return Row(*row).payment(now) if row else None


def in_flight(db: sqlite3.Connection, purse: str) -> list[Payment]:
    now = clock()
    sql = f"SELECT {COLUMNS} FROM payment WHERE purse = :purse AND in_flight ORDER BY seq"
    return [Row(*row).payment(now) for row in db.execute(sql, {"purse": label(purse), "now": now})]


def states(db: sqlite3.Connection, payment_ids: Sequence[str]) -> dict[str, State]:
    sql = f"SELECT id, state FROM payment WHERE id {AMONG} AND NOT {FORGOTTEN}"
    asked = {label(key): key for key in payment_ids}
    rows = db.execute(sql, {"among": json.dumps(list(asked)), "now": clock()})
    return {asked[key]: State(state) for key, state in rows}


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

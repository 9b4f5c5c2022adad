"""What stands in the way of a claim: the three rules of ``Store.reserve``, in their order."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any

from gateway.payment import OWED, REDEEMABLE, Payment, Standing, State, Why
from gateway.store.record import Row, state_set, unlabel
from gateway.store.sqlite_rows import COLUMNS, FORGOTTEN, GONE, LIVE, OPEN

Values = Mapping[str, Any]
"""``id``, ``digest``, ``max_attempts``, ``keyed``, ``request``, ``redeemable_since``, ``now``."""

SAME = f"""
SELECT digest = :digest AND attempts < :max_attempts AND {OPEN}, {COLUMNS} FROM payment WHERE id = :id
"""

KEYED = f"""
SELECT {COLUMNS} FROM payment
WHERE keyed = :keyed AND state <> '{State.REFUSED}' AND NOT {OPEN} AND NOT {FORGOTTEN}
"""

CLIENTS = f"""
SELECT client, {GONE} FROM (SELECT DISTINCT client, gone FROM payment WHERE owed = :request)
"""

PAID = f"(instr('{state_set(REDEEMABLE)}', ',' || state || ','))"
LOST = f"""
SELECT {COLUMNS} FROM payment
WHERE owed = :request AND {GONE} AND NOT {FORGOTTEN} AND CASE
    WHEN state = '{State.SETTLED}' THEN settled_at > :redeemable_since
    WHEN state = '{State.RESERVED}' THEN queued IS NOT NULL OR {LIVE}
    ELSE instr('{state_set(OWED)}', ',' || state || ',') END
ORDER BY NOT {PAID}, seq LIMIT 1
"""


def in_the_way(
    db: sqlite3.Connection, values: Values, *, known: bool, owed: bool
) -> Standing | frozenset[str]:
    """What the first rule finds; else the instances of those who wait for the same (``beside``).

    ``known``: there is a record with this id. ``owed``: there may be others of this payer and digest,
    undelivered.
    """
    if known and (payment := _same(db, values)) is not None:
        return Standing(payment, Why.SAME)
    if values["keyed"] is not None and (payment := _first(db, KEYED, values)) is not None:
        return Standing(payment, Why.KEYED)
    if not owed:
        return frozenset()
    clients = db.execute(CLIENTS, values).fetchall()
    if any(gone for _, gone in clients) and (payment := _first(db, LOST, values)) is not None:
        return Standing(payment, Why.LOST)
    return frozenset(unlabel(client) for client, gone in clients if not gone)


def _same(db: sqlite3.Connection, values: Values) -> Payment | None:
    claimable, *row = db.execute(SAME, values).fetchone()
    return None if claimable else Row(*row).payment(values["now"])


def _first(db: sqlite3.Connection, sql: str, values: Values) -> Payment | None:
    row = db.execute(sql, values).fetchone()
    return None if row is None else Row(*row).payment(values["now"])

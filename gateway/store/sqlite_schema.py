"""The embedded store's tables."""

from __future__ import annotations

import sqlite3

from gateway.payment import OWED, State

TOTAL = "*"
"""The row of ``exposure`` that sums all payers; no label is this."""

_OWED = ", ".join(f"'{state}'" for state in sorted({*OWED, State.RESERVED}))

_OUTGOING_FOR = """
CREATE TABLE outgoing_for (payment_id TEXT NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (payment_id, seq))
    WITHOUT ROWID;
CREATE INDEX outgoing_for_seq ON outgoing_for (seq);
CREATE TRIGGER outgoing_out AFTER DELETE ON outgoing
    BEGIN DELETE FROM outgoing_for WHERE seq = OLD.seq; END;
"""

UPGRADES = {
    2: f"""{_OUTGOING_FOR}
INSERT INTO outgoing_for SELECT payment_id, seq FROM outgoing;
DROP INDEX outgoing_payment;
ALTER TABLE outgoing DROP COLUMN payment_id;
"""
}
"""What makes a file of that version one of the next."""

SCHEMA = f"""
CREATE TABLE payment (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL,
    fence INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    digest TEXT NOT NULL,
    claim BLOB NOT NULL,
    amount TEXT NOT NULL,
    purse TEXT NOT NULL,
    route TEXT NOT NULL,
    queue TEXT NOT NULL,
    payer TEXT NOT NULL,
    request BLOB NOT NULL,
    keyed BLOB,
    moment TEXT NOT NULL,
    exposed INTEGER NOT NULL,
    void_at INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    leased_until INTEGER NOT NULL,
    holder TEXT NOT NULL,
    client TEXT NOT NULL,
    gone INTEGER NOT NULL DEFAULT 0,
    delivered_at INTEGER,
    settled_at INTEGER,
    redemptions INTEGER NOT NULL DEFAULT 0,
    forget_at INTEGER,
    in_flight INTEGER NOT NULL,
    queued TEXT,
    queue_seq INTEGER,
    tx TEXT NOT NULL DEFAULT '',
    reason TEXT NOT NULL DEFAULT '',
    history TEXT NOT NULL,
    note BLOB NOT NULL DEFAULT x'',
    owed BLOB AS (CASE WHEN delivered_at IS NULL AND state IN ({_OWED}) THEN request END)
);
CREATE INDEX payment_state ON payment (state);
CREATE INDEX payment_route ON payment (route);
CREATE INDEX payment_purse ON payment (purse) WHERE in_flight;
CREATE INDEX payment_queue ON payment (queued, queue_seq) WHERE queued IS NOT NULL;
CREATE INDEX payment_owed ON payment (owed, gone, client) WHERE owed IS NOT NULL;
CREATE UNIQUE INDEX payment_keyed ON payment (keyed) WHERE keyed IS NOT NULL;
CREATE INDEX payment_forget ON payment (forget_at)
    WHERE forget_at IS NOT NULL AND NOT in_flight AND queued IS NULL;

CREATE TABLE answer (
    seq INTEGER PRIMARY KEY,
    body BLOB NOT NULL,
    free_at INTEGER,
    spare INTEGER NOT NULL
);
CREATE INDEX answer_free ON answer (spare, free_at) WHERE free_at IS NOT NULL;
CREATE TABLE answers (bytes INTEGER NOT NULL);
INSERT INTO answers VALUES (0);
CREATE TRIGGER answer_in AFTER INSERT ON answer
    BEGIN UPDATE answers SET bytes = bytes + length(NEW.body); END;
CREATE TRIGGER answer_out AFTER DELETE ON answer
    BEGIN UPDATE answers SET bytes = bytes - length(OLD.body); END;

CREATE TABLE exposure (payer TEXT PRIMARY KEY, amount INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE loss (id TEXT PRIMARY KEY, payer TEXT NOT NULL, amount INTEGER NOT NULL, until INTEGER NOT NULL)
    WITHOUT ROWID;
CREATE INDEX loss_payer ON loss (payer);
CREATE INDEX loss_until ON loss (until);
CREATE TABLE exposing (payer TEXT NOT NULL, change INTEGER NOT NULL);
CREATE TRIGGER exposing_in AFTER INSERT ON exposing BEGIN
    INSERT INTO exposure VALUES (NEW.payer, NEW.change), ('{TOTAL}', NEW.change)
        ON CONFLICT (payer) DO UPDATE SET amount = amount + excluded.amount;
    DELETE FROM exposure WHERE payer = NEW.payer AND amount = 0;
    DELETE FROM exposing;
END;
CREATE TRIGGER exposed_first AFTER INSERT ON payment WHEN NEW.exposed
    BEGIN INSERT INTO exposing VALUES (NEW.payer, NEW.exposed); END;
CREATE TRIGGER exposed_anew AFTER UPDATE OF exposed ON payment WHEN OLD.exposed <> NEW.exposed
    BEGIN INSERT INTO exposing VALUES (NEW.payer, NEW.exposed - OLD.exposed); END;
CREATE TRIGGER exposed_last AFTER DELETE ON payment WHEN OLD.exposed
    BEGIN INSERT INTO exposing VALUES (OLD.payer, -OLD.exposed); END;
CREATE TRIGGER loss_in AFTER INSERT ON loss
    BEGIN INSERT INTO exposing VALUES (NEW.payer, NEW.amount); END;
CREATE TRIGGER loss_out AFTER DELETE ON loss
    BEGIN INSERT INTO exposing VALUES (OLD.payer, -OLD.amount); END;

CREATE TABLE instance (
    name TEXT PRIMARY KEY,
    slot TEXT NOT NULL,
    run TEXT NOT NULL,
    number INTEGER NOT NULL,
    process TEXT NOT NULL,
    seen_at INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE hold (name TEXT PRIMARY KEY, owner TEXT NOT NULL, epoch INTEGER NOT NULL, until INTEGER NOT NULL)
    WITHOUT ROWID;

CREATE TABLE outgoing (
    seq INTEGER PRIMARY KEY,
    digest BLOB NOT NULL UNIQUE,
    sender TEXT NOT NULL,
    body BLOB NOT NULL,
    closed INTEGER NOT NULL DEFAULT 0,
    forget_at INTEGER
);
CREATE INDEX outgoing_open ON outgoing (sender) WHERE NOT closed;
CREATE INDEX outgoing_forget ON outgoing (forget_at) WHERE forget_at IS NOT NULL;
{_OUTGOING_FOR}

CREATE TABLE orphan (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    body BLOB NOT NULL,
    found_at INTEGER NOT NULL
);

CREATE TABLE fact (name TEXT PRIMARY KEY, value BLOB NOT NULL, until INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX fact_until ON fact (until);
"""


def statements(script: str) -> list[str]:
    """``executescript`` would commit between statements: a schema is made in one step instead."""
    found: list[str] = []
    pending = ""
    for line in script.strip().splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            found.append(pending)
            pending = ""
    return found

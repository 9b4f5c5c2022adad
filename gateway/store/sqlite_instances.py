"""Which gateway processes there are."""

from __future__ import annotations

import sqlite3

from gateway.payment import Instance
from gateway.store.record import INSTANCE_KEPT_MS, label, unlabel
from gateway.store.sqlite_rows import clock


def arrive(db: sqlite3.Connection, instance: Instance) -> None:
    values = {
        "name": label(instance.name),
        "slot": label(instance.slot),
        "run": label(instance.run),
        "number": instance.number,
        "process": label(instance.process),
        "now": clock(),
    }
    db.execute("DELETE FROM instance WHERE slot = :slot AND (run <> :run OR number = :number)", values)
    db.execute("INSERT OR REPLACE INTO instance VALUES (:name, :slot, :run, :number, :process, :now)", values)


def beat(db: sqlite3.Connection, name: str) -> bool:
    sql = "UPDATE instance SET seen_at = ? WHERE name = ?"
    return db.execute(sql, (clock(), label(name))).rowcount > 0


def bury(db: sqlite3.Connection, name: str) -> None:
    db.execute("DELETE FROM instance WHERE name = ?", (label(name),))


def living(db: sqlite3.Connection) -> list[Instance]:
    rows = db.execute("SELECT name, slot, run, number, process FROM instance ORDER BY name")
    return [
        Instance(unlabel(name), unlabel(slot), unlabel(run), number, unlabel(process))
        for name, slot, run, number, process in rows
    ]


def forget_silent(db: sqlite3.Connection, now: int) -> None:
    db.execute("DELETE FROM instance WHERE seen_at <= ?", (now - INSTANCE_KEPT_MS,))

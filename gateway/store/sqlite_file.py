"""The embedded store's file: where it is, what is in it, how it is opened."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

from gateway.errors import StoreUnavailable, StoreUnfit
from gateway.store.sqlite_schema import SCHEMA, UPGRADES, statements

FILE = "payments.sqlite3"
VERSION = 3
OPEN_PATIENCE = 5.0
"""Seconds an opening process waits for others that open the same file."""


def connect(file: Path, *, busy: float) -> sqlite3.Connection:
    """A connection to an existing file: one that vanished is never made anew, empty."""
    connection = sqlite3.connect(
        f"{file.absolute().as_uri()}?mode=rw",
        uri=True,
        timeout=busy,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
    )
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA journal_size_limit=67108864")
    return connection


def prepare(directory: Path) -> Path:
    """Make or check the file; StoreUnfit when payments cannot be kept there."""
    file = directory / FILE
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.touch(mode=0o600)
    except OSError as error:
        raise StoreUnfit(f"cannot keep payments in {directory}: {error.strerror}") from error
    until = time.monotonic() + OPEN_PATIENCE
    while not _prepared(file, until):
        time.sleep(0.02)
    return file


def _prepared(file: Path, until: float) -> bool:
    """False when another process has the file and there is time to try again."""
    try:
        connection = connect(file, busy=1.0)
        try:
            _check(connection, file)
        finally:
            connection.close()
    except sqlite3.OperationalError as error:
        if time.monotonic() < until and primary_code(error) == sqlite3.SQLITE_BUSY:
            return False
        raise StoreUnavailable(f"cannot open {file}: {error}") from error
    except sqlite3.DatabaseError as error:
        raise StoreUnfit(f"{file} is not a payment store: {error}") from error
    return True


def primary_code(error: Exception) -> int:
    """SQLite's error code without its extension; 0 for errors that are not SQLite's."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _check(connection: sqlite3.Connection, file: Path) -> None:
    if connection.execute("PRAGMA journal_mode=WAL").fetchone()[0] != "wal":
        raise StoreUnfit(f"{file}: this file system does not carry SQLite's WAL; use a local disk")
    connection.execute("BEGIN IMMEDIATE")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        raise StoreUnfit(f"{file} was written by a newer Tollway: schema {version}, known here: {VERSION}")
    if 0 < version < min(UPGRADES):
        raise StoreUnfit(f"{file} was written by an older Tollway: schema {version}, needed here: {VERSION}")
    if version == 0:
        _create(connection)
    elif version < VERSION:
        _upgrade(connection, version)
    connection.execute("COMMIT")


def _create(connection: sqlite3.Connection) -> None:
    if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        raise sqlite3.DatabaseError("it holds somebody else's tables")
    for statement in statements(SCHEMA):
        connection.execute(statement)
    connection.execute(f"PRAGMA user_version={VERSION}")


def _upgrade(connection: sqlite3.Connection, version: int) -> None:
    """One transaction: the file is of one version or of the other. A Tollway that still has the old one
    open fails from here on, and is told why at its next start."""
    for each in range(version, VERSION):
        for statement in statements(UPGRADES[each]):
            connection.execute(statement)
    connection.execute(f"PRAGMA user_version={VERSION}")

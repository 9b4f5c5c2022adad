"""Time that has passed for what a store recorded, without waiting for it."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Protocol

from gateway.store.sqlite_file import FILE
from kit.redis_server import RedisServer

FIELDS = ("updated_at", "leased_until", "settled_at", "forget_at")
RECORDS = """
for _, key in ipairs(redis.call('KEYS', 'tollway:payment:*')) do
  local payment = cmsgpack.unpack(redis.call('GET', key))
  for i = 2, #ARGV do
    payment[ARGV[i]] = payment[ARGV[i]] and payment[ARGV[i]] - ARGV[1]
  end
  redis.call('SET', key, cmsgpack.pack(payment))
end
"""
SCORES = """
for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  redis.call('ZINCRBY', KEYS[1], -ARGV[1], id)
end
"""

EXPIRIES = """
for _, key in ipairs(redis.call('KEYS', 'tollway:fact:*')) do
  redis.call('PEXPIRE', key, redis.call('PTTL', key) - ARGV[1])
end
"""


class Clock(Protocol):
    """Each moves what it names into the past."""

    def signs(self, seconds: float) -> None:
        """The last signs of all instances."""

    def records(self, seconds: float) -> None:
        """Leases, last changes, settlements and ends of all payments."""

    def settlements(self, seconds: float) -> None:
        """Only settlements."""

    def losses(self, seconds: float) -> None:
        """Losses."""

    def facts(self, seconds: float) -> None:
        """Facts."""


class SqliteClock:
    def __init__(self, folder: Path) -> None:
        self._file = folder / FILE

    def _shift(self, table: str, columns: tuple[str, ...], seconds: float) -> None:
        changes = ", ".join(f"{column} = {column} - {round(seconds * 1000)}" for column in columns)
        connection = sqlite3.connect(self._file, isolation_level=None)
        connection.execute(f"UPDATE {table} SET {changes}")
        connection.close()

    def signs(self, seconds: float) -> None:
        self._shift("instance", ("seen_at",), seconds)

    def records(self, seconds: float) -> None:
        self._shift("payment", FIELDS, seconds)

    def settlements(self, seconds: float) -> None:
        self._shift("payment", ("settled_at",), seconds)

    def losses(self, seconds: float) -> None:
        self._shift("loss", ("until",), seconds)

    def facts(self, seconds: float) -> None:
        self._shift("fact", ("until",), seconds)


class RedisClock:
    def __init__(self, server: RedisServer) -> None:
        self._server = server

    def _run(self, script: str, keys: tuple[str, ...], seconds: float, fields: tuple[str, ...] = ()) -> None:
        words = ("EVAL", script, str(len(keys)), *keys, str(round(seconds * 1000)), *fields)
        reply = self._server.command(*words)
        assert not reply.startswith(b"-"), reply

    def signs(self, seconds: float) -> None:
        self._run(SCORES, ("tollway:seen",), seconds)

    def records(self, seconds: float) -> None:
        self._run(RECORDS, (), seconds, FIELDS)
        self._run(SCORES, ("tollway:expiry",), seconds)
        self._run(SCORES, ("tollway:state:reserved",), seconds * 1000)

    def settlements(self, seconds: float) -> None:
        self._run(RECORDS, (), seconds, ("settled_at",))

    def losses(self, seconds: float) -> None:
        self._run(SCORES, ("tollway:losses",), seconds)

    def facts(self, seconds: float) -> None:
        self._run(EXPIRIES, (), seconds)

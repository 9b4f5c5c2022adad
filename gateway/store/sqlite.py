"""The embedded store: one SQLite file on one machine, shared by all its worker processes.

``synchronous=FULL`` on a WAL: a committed transaction survives ``kill -9`` and power loss.
Writes go through one thread with group commit, reads through another; neither blocks the
event loop. The lock between processes is SQLite's own, so a call that cannot get it, or the
disk, within the deadline ends in StoreUnavailable, and the next one starts afresh.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from facilitator.base import Outgoing
from gateway.errors import StoreUnavailable
from gateway.payment import Caps, Claim, Claimed, Instance, Lease, Orphan, Payment, Standing, State
from gateway.store import (
    Step,
    sqlite_answers,
    sqlite_claims,
    sqlite_facts,
    sqlite_instances,
    sqlite_leases,
    sqlite_orphans,
    sqlite_purge,
    sqlite_rows,
    sqlite_steps,
)
from gateway.store.record import Limits, milliseconds, read_cursor
from gateway.store.sqlite_file import connect, prepare
from gateway.store.sqlite_worker import Run, T, Worker

LOCK_WAIT = 0.005
"""Seconds SQLite itself waits for a lock; the worker does the rest of the waiting."""


class SqliteStore:
    """See :class:`gateway.store.Store` for what each call does."""

    def __init__(self, directory: Path, limits: Limits) -> None:
        self._directory = directory
        self._limits = limits
        self._file: Path | None = None
        self._preparing = threading.Lock()
        self._writer: Worker | None = None
        self._reader: Worker | None = None

    async def open(self) -> None:
        """Start the two threads, then make or check the file; one that is busy is tried again later."""
        purge = partial(sqlite_purge.purge, limits=self._limits)
        self._writer = Worker(self._connect, "BEGIN IMMEDIATE", purge)
        self._reader = Worker(self._connect, "BEGIN")
        self._writer.start()
        self._reader.start()
        await asyncio.to_thread(self._prepare)

    def _prepare(self) -> Path:
        """Once: a file that vanishes later must not come back empty."""
        with self._preparing:
            if self._file is None:
                self._file = prepare(self._directory)
        return self._file

    def _connect(self) -> sqlite3.Connection:
        return connect(self._prepare(), busy=LOCK_WAIT)

    async def close(self) -> None:
        """Finish what was submitted and close the file."""
        for worker in (self._writer, self._reader):
            if worker is not None:
                await worker.stop()

    def _write(self, run: Run[T]) -> asyncio.Future[T]:
        if self._writer is None:
            raise StoreUnavailable("the payment store is not open")
        return self._writer.call(run)

    def _read(self, run: Run[T]) -> asyncio.Future[T]:
        if self._reader is None:
            raise StoreUnavailable("the payment store is not open")
        return self._reader.call(run)

    async def ping(self) -> None:
        """Asks both threads and both connections."""
        await self._read(_touch)

    async def arrive(self, instance: Instance) -> None:
        await self._write(partial(sqlite_instances.arrive, instance=instance))

    async def beat(self, name: str) -> bool:
        return await self._write(partial(sqlite_instances.beat, name=name))

    async def bury(self, name: str) -> None:
        await self._write(partial(sqlite_instances.bury, name=name))

    async def instances(self) -> list[Instance]:
        return await self._read(sqlite_instances.living)

    async def reserve(
        self, claim: Claim, *, by: str, lease: float, max_attempts: int, caps: Caps | None = None
    ) -> Claimed | Standing:
        run = partial(
            sqlite_claims.reserve,
            claim=claim,
            by=by,
            lease=milliseconds(lease),
            max_attempts=max_attempts,
            caps=caps,
            limits=self._limits,
        )
        return await self._write(run)

    async def find(self, payment_id: str) -> Payment | None:
        return await self._read(partial(sqlite_rows.find, payment_id=payment_id))

    async def in_flight(self, purse: str) -> list[Payment]:
        return await self._read(partial(sqlite_rows.in_flight, purse=purse))

    async def drop(self, lease: Lease) -> bool:
        return await self._write(partial(sqlite_claims.drop, lease=lease, limits=self._limits))

    async def advance(self, lease: Lease, step: Step) -> bool:
        return await self._write(partial(sqlite_steps.advance, lease=lease, step=step, limits=self._limits))

    async def renew(self, leases: Sequence[Lease], *, lease: float) -> frozenset[str]:
        return await self._write(partial(sqlite_steps.renew, leases=leases, lease=milliseconds(lease)))

    async def due(self, queue: str, *, by: str, limit: int, lease: float) -> list[Payment]:
        run = partial(sqlite_steps.due, queue=queue, by=by, limit=limit, lease=milliseconds(lease))
        return await self._write(run)

    async def redeem(self, payment_id: str, *, by: str, lease: float, most: int) -> Lease | None:
        run = partial(
            sqlite_claims.redeem, payment_id=payment_id, by=by, lease=milliseconds(lease), most=most
        )
        return await self._write(run)

    async def mark(self, *, delivered: Sequence[str] = (), left: Sequence[str] = ()) -> None:
        run = partial(sqlite_steps.mark, delivered=delivered, left=left, limits=self._limits)
        await self._write(run)

    async def states(self, payment_ids: Sequence[str]) -> dict[str, State]:
        return await self._read(partial(sqlite_rows.states, payment_ids=payment_ids))

    async def listing(
        self, *, state: State | None, route: str | None, limit: int, cursor: str | None
    ) -> tuple[list[Payment], str | None]:
        before = read_cursor(cursor)
        run = partial(sqlite_rows.listing, state=state, route=route, limit=limit, before=before)
        return await self._read(run)

    async def answer(self, payment_id: str) -> bytes | None:
        return await self._read(partial(sqlite_answers.answer, payment_id=payment_id, limits=self._limits))

    async def hold(self, name: str, owner: str, *, lease: float) -> int | None:
        run = partial(sqlite_leases.hold, name=name, owner=owner, lease=milliseconds(lease))
        return await self._write(run)

    async def give_up(self, name: str, owner: str) -> None:
        await self._write(partial(sqlite_leases.give_up, name=name, owner=owner))

    async def record_transaction(self, epoch: int, transaction: Outgoing) -> bool:
        return await self._write(partial(sqlite_leases.record, epoch=epoch, transaction=transaction))

    async def close_transaction(self, transaction: Outgoing) -> None:
        run = partial(sqlite_leases.close, transaction=transaction, limits=self._limits)
        await self._write(run)

    async def open_transactions(self, sender: str) -> list[Outgoing]:
        return await self._read(partial(sqlite_leases.opened, sender=sender))

    async def transactions_of(self, payment_id: str) -> list[Outgoing]:
        return await self._read(partial(sqlite_leases.of, payment_id=payment_id))

    async def recorded(self, payment_ids: Sequence[str]) -> frozenset[str]:
        return await self._read(partial(sqlite_leases.recorded, payment_ids=payment_ids))

    async def note_orphan(self, orphan: Orphan) -> bool:
        return await self._write(partial(sqlite_orphans.note, orphan=orphan))

    async def orphans(self) -> list[Orphan]:
        return await self._read(sqlite_orphans.newest)

    async def remember(self, name: str, value: bytes, *, seconds: float) -> None:
        run = partial(sqlite_facts.remember, name=name, value=value, kept=milliseconds(seconds))
        await self._write(run)

    async def forget(self, name: str) -> None:
        await self._write(partial(sqlite_facts.forget, name=name))

    async def recall(self, names: Sequence[str]) -> list[bytes | None]:
        return await self._read(partial(sqlite_facts.recall, names=names))


def _touch(db: sqlite3.Connection) -> None:
    db.execute("SELECT 1 FROM payment LIMIT 1").fetchone()

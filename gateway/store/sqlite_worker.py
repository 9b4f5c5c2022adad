"""A thread that owns one SQLite connection, so that the event loop never waits for a disk.

Calls that arrive while a transaction is being made durable are taken together into the
next one (group commit): a hundred payments share one fsync.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from gateway.errors import StoreUnavailable, TollwayError
from gateway.store.record import DEADLINE, PURGE_EVERY
from gateway.store.sqlite_file import primary_code

T = TypeVar("T")
Run = Callable[[sqlite3.Connection], T]
FAULTS = (sqlite3.Error, OverflowError, UnicodeError, TollwayError)
"""What a call may raise: the file's troubles, values SQLite cannot hold, a file that cannot be opened."""
MOST_AT_ONCE = 256
POLL = 0.0005


@dataclass(frozen=True, slots=True)
class Job:
    """One call: what to do, who waits for it (nobody for housekeeping), until when (monotonic)."""

    run: Run[Any]
    future: asyncio.Future[Any] | None
    deadline: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a job."""

    job: Job
    value: Any
    error: Exception | None = None


class Worker:
    """Runs calls in transactions opened by ``begin``; ``chore`` is done about once a second,
    and again at once when it says that there is more."""

    def __init__(
        self, connect: Callable[[], sqlite3.Connection], begin: str, chore: Run[bool] | None = None
    ) -> None:
        self._connect = connect
        self._begin_sql = begin
        self._chore = chore
        self._chore_at = 0.0
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._connection: sqlite3.Connection | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._work, name="tollway-store", daemon=True)

    def start(self) -> None:
        """Called on the event loop that will wait for the answers."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    async def stop(self) -> None:
        """Finish what was submitted and close the connection."""
        if self._thread.is_alive():
            self._jobs.put(None)
            await asyncio.to_thread(self._thread.join)

    async def call(self, run: Run[T]) -> T:
        """Run in a transaction; acknowledged when committed."""
        if self._loop is None or not self._thread.is_alive():
            raise StoreUnavailable("the payment store is closed")
        future: asyncio.Future[T] = self._loop.create_future()
        self._jobs.put(Job(run, future, time.monotonic() + DEADLINE))
        # Not asyncio.timeout: on a loop that was busy for long, an answer that is there must count.
        await asyncio.wait((future,), timeout=DEADLINE)
        if not future.done():
            future.cancel()
            raise StoreUnavailable
        return future.result()

    def _work(self) -> None:
        working = True
        while working:
            jobs = self._take()
            working = None not in jobs
            if batch := [job for job in jobs if job is not None]:
                self._hand_out(self._attend(batch))
            self._housekeeping()
        self._discard()

    def _take(self) -> list[Job | None]:
        """Everything that waits by now; nothing when it is time for housekeeping."""
        jobs: list[Job | None] = []
        with suppress(queue.Empty):
            jobs.append(self._jobs.get(timeout=PURGE_EVERY))
            while len(jobs) < MOST_AT_ONCE:
                jobs.append(self._jobs.get_nowait())
        return jobs

    def _housekeeping(self) -> None:
        if self._chore is not None and time.monotonic() >= self._chore_at:
            outcomes = self._attend([Job(self._chore, None, time.monotonic() + DEADLINE)])
            more = any(outcome.value for outcome in outcomes)
            self._chore_at = time.monotonic() + (0 if more else PURGE_EVERY)

    def _attend(self, jobs: Sequence[Job]) -> list[Outcome]:
        """One transaction for all; if it fails, one for each, so that no call fails for another's sake."""
        try:
            return self._transact(jobs)
        except FAULTS as error:
            self._discard()
            if len(jobs) == 1 or primary_code(error) == sqlite3.SQLITE_BUSY:
                return [Outcome(job, None, error) for job in jobs]
        return [outcome for job in jobs for outcome in self._attend([job])]

    def _transact(self, jobs: Sequence[Job]) -> list[Outcome]:
        connection = self._begin(max(job.deadline for job in jobs))
        now = time.monotonic()
        outcomes = [Outcome(job, job.run(connection)) for job in jobs if job.deadline > now]
        connection.execute("COMMIT")
        return outcomes

    def _begin(self, until: float) -> sqlite3.Connection:
        """SQLite's own waiting backs off up to 100 ms, too long between processes that commit often."""
        if self._connection is None:
            self._connection = self._connect()
        while True:
            try:
                self._connection.execute(self._begin_sql)
                return self._connection
            except sqlite3.OperationalError as error:
                if primary_code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                    raise
            time.sleep(POLL)

    def _discard(self) -> None:
        """Closing rolls back; the next transaction starts on a new connection."""
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    def _hand_out(self, outcomes: Sequence[Outcome]) -> None:
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop was closed: nobody waits any more
                self._loop.call_soon_threadsafe(_deliver, outcomes)


def _deliver(outcomes: Sequence[Outcome]) -> None:
    for outcome in outcomes:
        future = outcome.job.future
        if future is None or future.done():
            continue
        if outcome.error is None:
            future.set_result(outcome.value)
        else:
            unavailable = StoreUnavailable()
            unavailable.__cause__ = outcome.error
            future.set_exception(unavailable)

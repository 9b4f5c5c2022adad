"""A thread that owns one SQLite connection, so that the event loop never waits for a disk.

Calls that arrive while a transaction is being made durable are taken together into the
next one (group commit): a hundred payments share one fsync. They go over in groups both ways:
what one turn of the event loop asks for wakes the thread once, and what one transaction did
wakes the loop once.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

from gateway.errors import StoreUnavailable, TollwayError
from gateway.store.record import DEADLINE, PURGE_EVERY
from gateway.store.sqlite_file import primary_code

T = TypeVar("T")
Run = Callable[[sqlite3.Connection], T]
FAULTS = (sqlite3.Error, OverflowError, UnicodeError, TollwayError)
"""What a call may raise: the file's troubles, values SQLite cannot hold, a file that cannot be opened."""
MOST_AT_ONCE = 256
"""Calls in one transaction, and the rest of the last group."""
POLL = 0.0005


class Job(NamedTuple):
    """One call: what to do, who waits for it (nobody for housekeeping), until when (monotonic)."""

    run: Run[Any]
    future: asyncio.Future[Any] | None
    deadline: float


class Outcome(NamedTuple):
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
        self._asked: list[Job] = []
        """In this turn of the event loop."""
        self._waiting: dict[asyncio.Future[Any], float] = {}
        """Who has no answer yet, and until when: in that order."""
        self._watched = False
        """Whether a timer is set for the first of them."""
        self._groups: queue.SimpleQueue[list[Job]] = queue.SimpleQueue()
        self._stopping = False
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
            self._hand_over()
            self._stopping = True
            self._groups.put([])  # wakes it
            await asyncio.to_thread(self._thread.join)

    def call(self, run: Run[T]) -> asyncio.Future[T]:
        """Run in a transaction; acknowledged when committed."""
        if self._loop is None or not self._thread.is_alive():
            raise StoreUnavailable("the payment store is closed")
        future: asyncio.Future[T] = self._loop.create_future()
        deadline = time.monotonic() + DEADLINE
        if not self._asked:
            self._loop.call_soon(self._hand_over)
        self._asked.append(Job(run, future, deadline))
        self._waiting[future] = deadline
        if not self._watched:
            self._watch(self._loop)
        return future

    def _hand_over(self) -> None:
        self._groups.put(self._asked)
        self._asked = []

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """One timer for all: an answer costs none of its own."""
        first = next(iter(self._waiting.values()), None)
        self._watched = first is not None
        if first is not None:
            loop.call_at(first, self._expire, loop)

    def _expire(self, loop: asyncio.AbstractEventLoop) -> None:
        """On a loop that was busy for long, an answer that is there was delivered before this runs."""
        now = loop.time()
        for future in [future for future, deadline in self._waiting.items() if deadline <= now]:
            del self._waiting[future]
            if not future.done():
                future.set_exception(StoreUnavailable())
        self._watch(loop)

    def _work(self) -> None:
        while not (self._stopping and self._groups.empty()):
            if jobs := self._take():
                self._hand_out(self._attend(jobs))
            self._housekeeping()
        self._discard()

    def _take(self) -> list[Job]:
        """Everything that waits by now; nothing when it is time for housekeeping."""
        jobs: list[Job] = []
        with suppress(queue.Empty):
            jobs += self._groups.get(timeout=PURGE_EVERY)
            while len(jobs) < MOST_AT_ONCE and not self._groups.empty():
                jobs += self._groups.get_nowait()
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
                self._loop.call_soon_threadsafe(self._deliver, outcomes)

    def _deliver(self, outcomes: Sequence[Outcome]) -> None:
        for job, value, error in outcomes:
            if job.future is None or self._waiting.pop(job.future, None) is None or job.future.done():
                continue
            if error is None:
                job.future.set_result(value)
            else:
                unavailable = StoreUnavailable()
                unavailable.__cause__ = error
                job.future.set_exception(unavailable)

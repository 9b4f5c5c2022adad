"""What only the embedded store has to hold: its file, several processes, kill -9, a disk that refuses."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from kit.stores import HERE, claimed, make_claim, settle, step

from facilitator.base import Outgoing
from gateway.errors import StoreUnavailable, StoreUnfit
from gateway.payment import State, payment_id
from gateway.store import Store
from gateway.store.connect import open_store
from gateway.store.sqlite_file import FILE, VERSION

PATIENCE = 1.0
"""What every call must stay under: the deadline of 0.9 s and a little for the event loop."""

WRITER = """
import asyncio, sys
from contextlib import suppress
from gateway.errors import StoreUnavailable
from kit.stores import make_claim, settle
from gateway.store.connect import open_store

async def main():
    store = open_store("embedded", sys.argv[1], 60, 1000, 10**6)
    await store.open()
    for number in range(100000):
        with suppress(StoreUnavailable):
            await settle(store, make_claim(replay_key=f"{sys.argv[2]}{number}"), answer=b"a" * 100)
            print(number, flush=True)

asyncio.run(main())
"""


def make(folder: Path) -> Store:
    return open_store("embedded", folder, 60, 1000, 3000)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
async def store(folder: Path) -> AsyncIterator[Store]:
    opened = make(folder)
    await opened.open()
    yield opened
    await opened.close()


def writer(folder: Path, name: str) -> subprocess.Popen[str]:
    path = os.pathsep.join(part for part in sys.path if part)
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder), name],
        env=os.environ | {"PYTHONPATH": path},
        stdout=subprocess.PIPE,
        text=True,
    )


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Another process that holds the write lock."""
    other = sqlite3.connect(folder / FILE, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.close()


def modes(folder: Path) -> tuple[int, set[int]]:
    """Of the folder, and of what is in it."""
    return folder.stat().st_mode & 0o777, {entry.stat().st_mode & 0o777 for entry in folder.iterdir()}


async def refused_in_time(store: Store) -> None:
    started = time.monotonic()
    with pytest.raises(StoreUnavailable) as caught:
        await claimed(store, make_claim())
    assert time.monotonic() - started < PATIENCE
    assert str(Path.cwd()) not in caught.value.detail and "sqlite" not in caught.value.detail.lower()


async def test_the_folder_is_private(store: Store, folder: Path) -> None:
    await claimed(store, make_claim())
    assert modes(folder) == (0o700, {0o600})


async def test_written_as_for_money(store: Store, folder: Path) -> None:
    worker = store._writer  # type: ignore[attr-defined]
    assert await worker.call(lambda db: db.execute("PRAGMA synchronous").fetchone()) == (2,)
    assert await worker.call(lambda db: db.execute("PRAGMA journal_mode").fetchone()) == ("wal",)


async def test_kill_9_after_an_acknowledged_write(folder: Path) -> None:
    process = writer(folder, "k")
    assert process.stdout is not None
    acknowledged = [int(process.stdout.readline()) for _ in range(40)]
    process.kill()
    acknowledged += [int(line) for line in process.stdout]
    process.wait()
    store = make(folder)
    await store.open()
    for number in acknowledged:
        key = payment_id(f"k{number}")
        payment = await store.find(key)
        assert payment is not None and payment.state is State.SETTLED
        assert await store.answer(key) == b"a" * 100
    await store.close()


async def test_several_processes_share_the_file(folder: Path) -> None:
    """They open it at the same time, and none of them starves."""
    processes = [writer(folder, name) for name in "abc"]
    begun = [[int(process.stdout.readline()) for _ in range(21)] for process in processes if process.stdout]
    for process in processes:
        process.send_signal(signal.SIGKILL)
    store = make(folder)
    await store.open()
    for name, process, first in zip("abc", processes, begun, strict=True):
        numbers = first + [int(line) for line in process.stdout or ()]
        process.wait()
        found = await store.states([payment_id(f"{name}{number}") for number in numbers])
        assert list(found.values()) == [State.SETTLED] * len(numbers)
    await store.close()


async def test_a_lock_held_by_another_process(store: Store, folder: Path) -> None:
    claim = make_claim()
    await settle(store, claim)
    with locked(folder):
        await asyncio.gather(*(refused_in_time(store) for _ in range(20)))
        assert await store.find(claim.id) is not None, "reading goes on"
    await claimed(store, make_claim())


async def test_what_was_refused_for_a_lock_does_not_happen_later(store: Store, folder: Path) -> None:
    claim = make_claim()
    with locked(folder):
        with pytest.raises(StoreUnavailable):
            await claimed(store, claim)
        await asyncio.sleep(0.1)
    await claimed(store, make_claim())
    assert await store.find(claim.id) is None


async def test_what_waited_too_long_does_not_happen_later(store: Store) -> None:
    worker = store._writer  # type: ignore[attr-defined]
    slow = worker.call(lambda db: time.sleep(1.1))
    await asyncio.sleep(0.05)
    claim = make_claim()
    await asyncio.gather(
        refused_in_time(store), in_vain(store.reserve(claim, by=HERE.name, lease=10, max_attempts=1))
    )
    await in_vain(slow)
    await claimed(store, make_claim())
    assert await store.find(claim.id) is None


async def in_vain(call: Awaitable[object]) -> None:
    with pytest.raises(StoreUnavailable):
        await call


async def test_a_full_disk(store: Store) -> None:
    claim = make_claim()
    await settle(store, claim)
    await store.ping()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, hard))
    try:
        await asyncio.gather(*(refused_in_time(store) for _ in range(20)))
        assert await store.find(claim.id) is not None
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    await claimed(store, make_claim())


def bad_call(store: Store) -> Awaitable[object]:
    """A value SQLite cannot hold."""
    return store.due("q", by=HERE.name, limit=2**70, lease=1)


async def test_one_bad_call_does_not_spoil_the_others(store: Store) -> None:
    """In one transaction with good ones."""
    calls = [claimed(store, make_claim()) for _ in range(30)]
    outcomes = await asyncio.gather(*calls[:15], bad_call(store), *calls[15:], return_exceptions=True)
    assert [type(outcome) for outcome in outcomes if isinstance(outcome, Exception)] == [StoreUnavailable]
    assert len(outcomes) == 31


async def test_a_vanished_file_does_not_come_back_empty(store: Store, folder: Path) -> None:
    """It would take every payment a second time."""
    claim = make_claim()
    await settle(store, claim)
    aside = folder.parent / "aside"
    os.rename(folder, aside)
    with pytest.raises(StoreUnavailable):
        await bad_call(store)  # after a failure the worker starts on a new connection
    await refused_in_time(store)
    assert os.listdir(folder.parent) == ["aside"]
    os.rename(aside, folder)
    await claimed(store, make_claim())
    assert await store.find(claim.id) is not None


async def test_what_one_turn_of_the_event_loop_asks_for_is_one_transaction(store: Store) -> None:
    worker = store._writer  # type: ignore[attr-defined]
    said: list[str] = []
    await worker.call(lambda db: db.set_trace_callback(said.append))
    await asyncio.gather(*(claimed(store, make_claim()) for _ in range(20)))
    await worker.call(lambda db: db.set_trace_callback(None))
    claims = [place for place, sql in enumerate(said) if "INSERT INTO payment" in sql]
    assert len(claims) >= 20 and "COMMIT" not in said[claims[0] : claims[-1]]


async def test_what_is_under_way_ends_before_closing(folder: Path) -> None:
    store = make(folder)
    await store.open()
    waiting = [
        asyncio.create_task(store.reserve(make_claim(), by=HERE.name, lease=1, max_attempts=1))
        for _ in range(20)
    ]
    await asyncio.sleep(0)
    await store.close()
    assert all([await task for task in waiting])
    with pytest.raises(StoreUnavailable):
        await store.ping()


async def test_closed_or_never_opened(folder: Path) -> None:
    store = make(folder)
    with pytest.raises(StoreUnavailable):
        await store.ping()
    await store.close()


def scribble(file: Path) -> None:
    file.write_bytes(b"not a database at all, but long enough to be looked at" * 100)


async def unfit(folder: Path, says: str) -> None:
    store = make(folder)
    with pytest.raises(StoreUnfit, match=says):
        await store.open()
    await store.close()


async def test_a_newer_schema_is_refused(store: Store, folder: Path) -> None:
    await store.close()
    with sqlite3.connect(folder / FILE) as db:
        db.execute(f"PRAGMA user_version={VERSION + 1}")
    await unfit(folder, "newer Tollway")


async def test_a_file_of_the_version_before_is_made_one_of_this(store: Store, folder: Path) -> None:
    """What it knows of transactions is kept, and shared ones can be recorded beside them."""
    await store.arrive(HERE)
    epoch = await store.hold("n", HERE.name, lease=10)
    assert epoch is not None
    before = [Outgoing("n", number, f"0x{number}", b"raw", (f"pay_{number}",)) for number in range(2)]
    for transaction in before:
        assert await store.record_transaction(epoch, transaction)
    await store.close()
    with sqlite3.connect(folder / FILE) as db:
        db.executescript(
            """ALTER TABLE outgoing ADD COLUMN payment_id TEXT NOT NULL DEFAULT '';
            UPDATE outgoing SET payment_id = (SELECT payment_id FROM outgoing_for WHERE seq = outgoing.seq);
            DROP TRIGGER outgoing_out;
            DROP TABLE outgoing_for;
            CREATE INDEX outgoing_payment ON outgoing (payment_id);
            PRAGMA user_version=2;"""
        )
    after = make(folder)
    await after.open()
    together = Outgoing("n", 2, "0x2", b"raw", ("pay_1", "pay_2"))
    assert await after.record_transaction(epoch, together)
    assert await after.transactions_of("pay_0") == before[:1]
    assert await after.transactions_of("pay_1") == [before[1], together]
    assert await after.open_transactions("n") == [*before, together]
    await after.close()


async def test_an_older_schema_is_refused(store: Store, folder: Path) -> None:
    await store.close()
    with sqlite3.connect(folder / FILE) as db:
        db.execute("PRAGMA user_version=1")
    await unfit(folder, "older Tollway")


async def test_a_file_that_is_no_database_is_refused(folder: Path) -> None:
    os.mkdir(folder)
    scribble(folder / FILE)
    await unfit(folder, "not a payment store")


async def test_somebody_elses_database_is_refused(folder: Path) -> None:
    os.mkdir(folder)
    with sqlite3.connect(folder / FILE) as db:
        db.execute("CREATE TABLE theirs (a)")
    await unfit(folder, "somebody else's")


async def test_a_place_where_nothing_can_be_kept(tmp_path: Path) -> None:
    os.mknod(tmp_path / "file")
    await unfit(tmp_path / "file", "cannot keep payments")


async def test_a_file_busy_at_the_start_is_opened_later(
    folder: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.store.sqlite_file.OPEN_PATIENCE", 0.1)
    late = make(folder)
    with locked(folder), pytest.raises(StoreUnavailable):
        await late.open()
    until = time.monotonic() + 3
    while time.monotonic() < until:
        try:
            await late.ping()
            break
        except StoreUnavailable:
            await asyncio.sleep(0.05)
    await claimed(late, make_claim())
    await late.close()


async def test_the_event_loop_is_never_blocked(store: Store, folder: Path) -> None:
    longest = 0.0
    with locked(folder):
        waiting = asyncio.create_task(refused_in_time(store))
        while not waiting.done():
            before = time.monotonic()
            await asyncio.sleep(0.001)
            longest = max(longest, time.monotonic() - before)
        await waiting
    assert longest < 0.2


async def test_a_step_after_reopening(folder: Path) -> None:
    store = make(folder)
    await store.open()
    mine = await claimed(store, make_claim())
    await store.close()
    store = make(folder)
    await store.open()
    assert await store.advance(mine.lease, step(State.SERVED))
    await store.close()

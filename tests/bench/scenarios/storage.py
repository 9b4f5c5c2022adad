"""What a payment leaves in the store, once it is settled: KiB in Redis' memory and on SQLite's disk."""

from __future__ import annotations

from pathlib import Path

from bench.chain import redis
from bench.money import Paymaster
from bench.paying import PaidLoad
from bench.peers.tollway import tollway
from bench.plan import Tree
from bench.scenarios.paid import instant_config
from bench.session import Session

NAME = "storage"
CASE = "a settled payment with an answer of 1 KB"
COLUMNS = {"redis_kib": "Redis, KiB", "sqlite_kib": "SQLite, KiB"}
NUMBER = 3000
SECONDS = 8.0
"""At most, for that many payments."""
_KIB = 2.0**10


def run(session: Session) -> None:
    """Measures it."""
    paymaster = Paymaster(session.folder)
    with session.stub() as stub:
        for tree in session.options.trees:
            kib = {
                "redis_kib": _on_redis(session, paymaster, tree, stub.url),
                "sqlite_kib": _on_sqlite(session, paymaster, tree, stub.url),
            }
            session.results.add(CASE, tree.name, kib, 1)
    session.show(CASE)


def _on_redis(session: Session, paymaster: Paymaster, tree: Tree, url: str) -> float:
    with redis() as there, tollway(tree, instant_config(url, store=there.url)) as server:
        load = PaidLoad(session, paymaster, server)
        load.check()
        before = there.used()
        sold = load.serve(NUMBER, SECONDS)
        return (there.used() - before) / max(sold, 1) / _KIB


def _on_sqlite(session: Session, paymaster: Paymaster, tree: Tree, url: str) -> float:
    folder = session.folder / f"store-{tree.name}"
    config = instant_config(url)
    config["store"] = {"path": str(folder)}
    with tollway(tree, config) as server:
        sold = PaidLoad(session, paymaster, server).serve(NUMBER, SECONDS)
    return _size(folder) / max(sold, 1) / _KIB


def _size(folder: Path) -> int:
    """Bytes of the database; its journal (WAL) has a size of its own and stays that."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.suffix not in (".db-wal", ".db-shm"))

"""Memory: of each process at rest, of an idle connection, of a stream."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from bench.chain import chain, settlement_key
from bench.connections import opened
from bench.money import Paymaster
from bench.paying import PaidLoad
from bench.peers.tollway import paid_config, tollway
from bench.plan import Tree
from bench.servers import Server
from bench.session import Session
from bench.usage import resident, tree

NAME = "memory"
CASE = "MiB or KiB"
KINDS = {
    "idle_kib": ("/free/10b", 2000, b"xxxxxxxxxx"),
    "stream_kib": ("/free/drip", 500, b"drop"),
}
"""What is open, by what is asked for, how often, and what must have come."""
COLUMNS = {
    "parent_mib": "parent, MiB",
    "worker_mib": "worker at rest, MiB",
    "settling_mib": "settling worker, MiB",
    "idle_kib": "idle connection, KiB",
    "stream_kib": "stream, KiB",
}
_FIRST = 50
"""Connections that warm what all share."""
_SETTLE = 1.5
"""Seconds until a process has done what it does after a change."""
_MIB, _KIB = 2.0**20, 2.0**10


def run(session: Session) -> None:
    """Measures it."""
    paymaster = Paymaster(session.folder)
    for each in session.options.trees:
        with _gateway(session, each, paymaster, workers=2) as server:
            session.results.add(CASE, each.name, _at_rest(session, paymaster, server), 1)
        for name, (path, number, until) in KINDS.items():
            with _gateway(session, each, paymaster, workers=1) as server:
                session.results.add(CASE, each.name, {name: _each(server, path, number, until)}, 1)
    session.show(CASE)


@contextmanager
def _gateway(session: Session, which: Tree, paymaster: Paymaster, workers: int) -> Iterator[Server]:
    with session.stub() as stub, chain(payers=paymaster.payers) as anvil:
        facilitator = {"mode": "local", "key": settlement_key(anvil)}
        with tollway(which, paid_config(stub.url, anvil.url, facilitator, workers=workers)) as server:
            time.sleep(_SETTLE)
            yield server


def _at_rest(session: Session, paymaster: Paymaster, server: Server) -> dict[str, float]:
    """Parent and workers, once one of them has settled."""
    parent, *workers = tree(server.pids[0])
    load = PaidLoad(session, paymaster, server)
    for _ in range(3):
        load.check()
    time.sleep(_SETTLE)
    after = [resident(each) / _MIB for each in workers]
    return {
        "parent_mib": resident(parent) / _MIB,
        "worker_mib": min(after),
        "settling_mib": max(after),
    }


def _each(server: Server, path: str, number: int, until: bytes) -> float:
    """KiB that one more such connection takes."""
    [pid] = tree(server.pids[0])
    with opened(server.url, path, _FIRST, until):
        time.sleep(_SETTLE)
        at_rest = resident(pid)
        with opened(server.url, path, number, until):
            time.sleep(_SETTLE)
            return (resident(pid) - at_rest) / number / _KIB

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
IDLE = 2000
STREAMS = 500
_SETTLE = 1.5
"""Seconds until a process has done what it does after a change."""
_MIB, _KIB = 2.0**20, 2.0**10


def run(session: Session) -> None:
    """Measures it."""
    paymaster = Paymaster(session.folder)
    for each in session.options.trees:
        with _gateway(session, each, paymaster, workers=2) as server:
            session.results.add(CASE, each.name, _at_rest(session, paymaster, server), 1)
        with _gateway(session, each, paymaster, workers=1) as server:
            session.results.add(CASE, each.name, _connections(server), 1)
    session.show(CASE)


@contextmanager
def _gateway(session: Session, which: Tree, paymaster: Paymaster, workers: int) -> Iterator[Server]:
    with session.stub() as stub, chain(payers=paymaster.payers) as anvil:
        facilitator = {"mode": "local", "key": settlement_key(anvil)}
        with tollway(which, paid_config(stub.url, anvil.url, facilitator, workers=workers)) as server:
            time.sleep(_SETTLE)
            yield server


def _at_rest(session: Session, paymaster: Paymaster, server: Server) -> dict[str, float]:
    """Parent and workers, before any payment; then again when one of them settles."""
    parent, *workers = tree(server.pids[0])
    before = [resident(each) / _MIB for each in workers]
    load = PaidLoad(session, paymaster, server)
    for _ in range(3):
        load.check()
    time.sleep(_SETTLE)
    after = [resident(each) / _MIB for each in workers]
    return {
        "parent_mib": resident(parent) / _MIB,
        "worker_mib": min(after),
        "worker_before_mib": max(before),
        "settling_mib": max(after),
    }


def _connections(server: Server) -> dict[str, float]:
    """What 2,000 idle connections and 500 streams add, each; the first few warm what is shared."""
    [pid] = tree(server.pids[0])
    with opened(server.url, "/free/10b", 50, b"xxxxxxxxxx"), opened(server.url, "/free/drip", 20, b"drop"):
        time.sleep(_SETTLE)
        at_rest = resident(pid)
        with opened(server.url, "/free/10b", IDLE, b"xxxxxxxxxx"):
            time.sleep(_SETTLE)
            idle = (resident(pid) - at_rest) / IDLE / _KIB
        time.sleep(_SETTLE)
        at_rest = resident(pid)
        with opened(server.url, "/free/drip", STREAMS, b"drop"):
            time.sleep(_SETTLE)
            stream = (resident(pid) - at_rest) / STREAMS / _KIB
    return {"idle_kib": idle, "stream_kib": stream}

"""Paid requests verified by the gateway itself (nonce and balance checked) and settled afterwards.

``deferred``, on a chain with a block every 2 s beside it. Each measurement has a gateway, a store and a
settlement key of its own: what an earlier one has yet to settle is not its burden.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial

from bench.chain import chain, redis, settlement_key
from bench.load import Loaded
from bench.money import Paymaster
from bench.paying import PaidLoad
from bench.peers.tollway import paid_config, tollway
from bench.plan import Tree
from bench.servers import Server
from bench.session import Session

from gateway.devchain.anvil import Chain

NAME = "local"
CASE = "c=32, settle deferred"
BLOCK_TIME = 2
STORES = ("Redis", "SQLite")
WORKERS = (1, 2)


def run(session: Session) -> None:
    """Measures it."""
    paymaster = Paymaster(session.folder)
    with session.stub() as stub, chain(BLOCK_TIME, paymaster.payers) as anvil:

        def measured(tree: Tree, store: str, workers: int) -> Loaded:
            with _gateway(tree, stub.url, anvil, store, workers) as server:
                return fresh(session, paymaster, server)

        attempts = {
            f"{tree.name}, {store}" + (f", {workers} workers" if workers > 1 else ""): partial(
                measured, tree, store, workers
            )
            for tree in session.options.trees
            for store in STORES
            for workers in WORKERS
        }
        session.interleave(CASE, attempts)


def fresh(session: Session, paymaster: Paymaster, server: Server) -> Loaded:
    """One measurement of a server that was just started."""
    load = PaidLoad(session, paymaster, server)
    load.check()
    load.warm_up()
    return load.measure()


@contextmanager
def _gateway(tree: Tree, upstream: str, anvil: Chain, store: str, workers: int) -> Iterator[Server]:
    facilitator = {"mode": "local", "key": settlement_key(anvil)}
    with redis() if store == "Redis" else nullcontext() as there:
        config = paid_config(
            upstream,
            anvil.url,
            facilitator,
            settle="deferred",
            store=there.url if there else "embedded",
            workers=workers,
        )
        beside = {"anvil": anvil.process.pid} | ({"redis": there.pid} if there else {})
        with tollway(tree, config, beside=beside) as server:
            yield server

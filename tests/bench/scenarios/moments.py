"""The same paid load with every moment of settlement, on both stores, with one worker and with two."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial

from bench.chain import redis
from bench.load import Loaded
from bench.money import Paymaster
from bench.peers.tollway import tollway
from bench.plan import Tree
from bench.scenarios.local import STORES, WORKERS, fresh
from bench.scenarios.paid import instant_config
from bench.servers import Server
from bench.session import Session

NAME = "moments"
MOMENTS = ("after", "before", "deferred")
ROUNDS = 3
"""At most: there are twelve of them."""


def run(session: Session) -> None:
    """Measures it."""
    paymaster = Paymaster(session.folder)
    with session.stub() as stub:

        def measured(tree: Tree, moment: str, store: str, workers: int) -> Loaded:
            with _gateway(tree, stub.url, moment, store, workers) as server:
                return fresh(session, paymaster, server)

        for moment in MOMENTS:
            attempts = {
                label(tree, store, workers): partial(measured, tree, moment, store, workers)
                for tree in session.options.trees
                for store in STORES
                for workers in WORKERS
            }
            session.interleave(f"settle {moment}", attempts, rounds=ROUNDS)


def label(tree: Tree, store: str, workers: int) -> str:
    """What one is called in the results."""
    return f"{tree.name}, {store}, {workers} worker{'s' if workers > 1 else ''}"


@contextmanager
def _gateway(tree: Tree, url: str, moment: str, store: str, workers: int) -> Iterator[Server]:
    with redis() if store == "Redis" else nullcontext() as there:
        kept = there.url if there else "embedded"
        config = instant_config(url, settle=moment, store=kept, workers=workers)
        with tollway(tree, config, beside={"redis": there.pid} if there else {}) as server:
            yield server

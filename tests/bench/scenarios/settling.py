"""Settlements a second from one key on blocks of 2 s and 400 M gas, and gas for each of them.

Payments are served (``deferred``) while no block is made, so that settling begins with a queue; then blocks
come. The rate is that of the best five blocks in a row. Each case runs once: its blocks are its rounds.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

from bench import blocks
from bench.chain import chain, redis, settlement_key
from bench.money import Paymaster
from bench.paying import PaidLoad
from bench.peers.one_by_one import official, waiting
from bench.peers.tollway import PAY_TO, Config, paid_config, takes, tollway
from bench.plan import Tree
from bench.results import Metrics
from bench.servers import Server
from bench.session import Session

from gateway.devchain.anvil import Chain

NAME = "settling"
CASE = "2 s blocks, one key"
GAS_CASE = "gas"
BLOCK_TIME = 2
SERVE = 12.0
"""Seconds of load before the first block."""
SERVE_FEW = 3.0
"""The same where only the gas is looked at."""
DRAIN = 16.0
"""Most seconds that are watched after it."""
ALONE = {"max_size": 1}
TOGETHER = {"max_wait": "200ms", "max_size": 100}
SIZES = (1, 10, 50, 100)
WAYS = ("pipelined", "in batches of 100")
WAITING = "one by one, waiting"


def run(session: Session) -> None:
    """Measures it."""
    paymaster = Paymaster(session.folder)
    with session.stub() as stub:
        for tree in session.options.trees:
            for name, batch in _ways(tree).items():
                with _gateway(tree, stub.url, paymaster, batch) as (server, anvil):
                    found = _drained(session, paymaster, server, anvil, None)
                session.results.add(CASE, f"{tree.name}, {name}", _rates(found), 1)
            for size in SIZES if _batches(tree) else (1,):
                batch = {**TOGETHER, "max_size": size} if _batches(tree) else None
                with _gateway(tree, stub.url, paymaster, batch) as (server, anvil):
                    found = _drained(session, paymaster, server, anvil, 3 * size + 100)
                whole = [each for each in found if each.transfers == size]
                if whole:
                    gas = median(each.gas_each for each in whole)
                    session.results.add(GAS_CASE, f"{tree.name}, {size} at once", {"gas": gas}, 1)
    if session.options.peers != "none":
        with chain(BLOCK_TIME, paymaster.payers) as anvil:
            session.results.add(CASE, WAITING, waiting(anvil, paymaster), 1)
            session.results.add(CASE, "x402 facilitator", official(anvil, paymaster), 1)
    session.show(CASE)
    session.show(GAS_CASE)


def _ways(tree: Tree) -> dict[str, Config | None]:
    alone, together = WAYS
    return {alone: ALONE, together: TOGETHER} if _batches(tree) else {alone: None}


def _batches(tree: Tree) -> bool:
    """Whether this checkout can settle several in one transaction."""
    facilitator, nowhere = {"mode": "local", "key": "0x" + "11" * 32}, "http://127.0.0.1:1"
    return takes(tree, paid_config(nowhere, nowhere, facilitator, x402={"batch": TOGETHER}))


@contextmanager
def _gateway(
    tree: Tree, upstream: str, paymaster: Paymaster, batch: Config | None
) -> Iterator[tuple[Server, Chain]]:
    with redis() as there, chain(BLOCK_TIME, paymaster.payers) as anvil:
        config = paid_config(
            upstream,
            anvil.url,
            {"mode": "local", "key": settlement_key(anvil)},
            settle="deferred",
            store=there.url,
            x402={"max_timeout": "600s", **({"batch": batch} if batch else {})},
        )
        with tollway(tree, config) as server:
            yield server, anvil


def _drained(
    session: Session, paymaster: Paymaster, server: Server, anvil: Chain, number: int | None
) -> list[blocks.Transaction]:
    """Serves for a while, or about that many, with no block made; then lets blocks come."""
    load = PaidLoad(session, paymaster, server)
    load.check()
    anvil.rpc.call("evm_setIntervalMining", 0)
    before = blocks.head(anvil.rpc)
    served = load.serve(number, SERVE if number is None else SERVE_FEW)
    anvil.rpc.call("evm_setIntervalMining", BLOCK_TIME)
    deadline = time.monotonic() + DRAIN
    found: list[blocks.Transaction] = []
    while time.monotonic() < deadline and sum(each.transfers for each in found) < served:
        time.sleep(BLOCK_TIME)
        found = blocks.settlements(anvil.rpc, PAY_TO, before)
    return found


def _rates(found: list[blocks.Transaction]) -> Metrics:
    settled = sum(each.transfers for each in found)
    return {
        "settlements_per_s": blocks.best_rate(found, BLOCK_TIME),
        "settled": settled,
        "per_transaction": settled / max(len(found), 1),
        "gas": sum(each.gas for each in found) / max(settled, 1),
    }

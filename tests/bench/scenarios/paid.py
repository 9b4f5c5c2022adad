"""Paid requests, distinct payments, 32 connections, with a facilitator that says yes at once.

Tollway asks a chain before it lets anybody settle, too: that one also answers at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any

from bench.chain import redis
from bench.errors import NotMeasured, first_line
from bench.money import Paymaster
from bench.paying import PaidLoad
from bench.peers.official import OFFICIAL, OFFICIAL_PROXIES
from bench.peers.tollway import Config, paid_config, tollway
from bench.servers import Server
from bench.session import Opening, Session

NAME = "paid"
CASE = "c=32, settle after"


def run(session: Session) -> None:
    """Measures it."""
    with ExitStack() as stack:
        stub = stack.enter_context(session.stub())
        paymaster = Paymaster(session.folder)
        openings = _ours(session, stub, stack) | _peers(session, stub)
        servers = stack.enter_context(session.side_by_side(openings))
        loads = ready(session, paymaster, servers)
        session.interleave(CASE, {name: load.measure for name, load in loads.items()})


def ready(session: Session, paymaster: Paymaster, servers: Mapping[str, Server]) -> dict[str, PaidLoad]:
    """Those that sell for a payment, warmed up; the others are left out, with a word."""
    found = {}
    for name, server in servers.items():
        load = PaidLoad(session, paymaster, server)
        try:
            load.check()
        except NotMeasured as error:
            session.leave_out(name, first_line(error))
            continue
        load.warm_up()
        found[name] = load
    return found


def instant_config(url: str, **more: Any) -> Config:
    """A gateway whose upstream, facilitator and chain are the stub at ``url``."""
    facilitator = {"mode": "remote", "url": url, "verify_on_chain_over": None}
    return paid_config(url, f"{url}/rpc", facilitator, **more)


def _ours(session: Session, stub: Server, stack: ExitStack) -> dict[str, Opening]:
    there = stack.enter_context(redis())
    found: dict[str, Opening] = {}
    for tree in session.options.trees:
        on_redis, on_sqlite = instant_config(stub.url, store=there.url), instant_config(stub.url)
        found[f"{tree.name}, Redis"] = partial(tollway, tree, on_redis, beside={"redis": there.pid})
        found[f"{tree.name}, SQLite"] = partial(tollway, tree, on_sqlite)
    return found


def _peers(session: Session, stub: Server) -> dict[str, Opening]:
    return {
        name: partial(opening, stub.url, stub.url)
        for name, opening in (OFFICIAL | OFFICIAL_PROXIES).items()
        if session.options.wanted(name)
    }

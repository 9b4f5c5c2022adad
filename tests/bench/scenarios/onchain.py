"""Paid, settled and only then answered, on a chain that makes its blocks at once: ours and the official one.

Ours settles itself. The other is the official FastAPI middleware with the official Python facilitator, which
is a server of its own; both processes are counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from bench.chain import chain, settlement_key
from bench.load import Loaded
from bench.money import Paymaster
from bench.paying import PaidLoad
from bench.peers.official import fastapi
from bench.peers.tollway import paid_config, tollway
from bench.servers import Server, program
from bench.session import Opening, Session, local_url

from gateway.devchain.anvil import Chain

NAME = "onchain"
CASE = "c=32, settle after"
WARM = 5
"""Purchases one by one before each measurement. A load would leave a queue behind the slow one."""
SECONDS = 6.0
"""At least: the slow one settles a dozen a second."""
EXPECTED = 400.0
"""Payments a second; more are signed when they do not last."""
PEER = "x402 FastAPI and x402 facilitator"


def run(session: Session) -> None:
    """Measures it."""
    paymaster = Paymaster(session.folder)
    with session.stub() as stub, chain(payers=paymaster.payers) as anvil:

        def measured(opening: Opening) -> Loaded:
            with opening() as server:
                load = PaidLoad(session, paymaster, server, expected=EXPECTED)
                for _ in range(WARM):
                    load.check()
                return load.measure(SECONDS)

        facilitator = {"mode": "local", "key": settlement_key(anvil)}
        config = paid_config(stub.url, anvil.url, facilitator)
        openings: dict[str, Opening] = {
            tree.name: partial(tollway, tree, config, beside={"anvil": anvil.process.pid})
            for tree in session.options.trees
        }
        if session.options.wanted(PEER):
            openings[PEER] = partial(_official, anvil)
        session.interleave(CASE, {name: partial(measured, each) for name, each in openings.items()})


@contextmanager
def _official(anvil: Chain) -> Iterator[Server]:
    key = settlement_key(anvil)
    with (
        program("bench.apps.x402_facilitator", local_url(), anvil.url, key) as facilitator,
        fastapi(facilitator.url, "") as middleware,
    ):
        yield Server(
            middleware.url,
            middleware.pids + facilitator.pids,
            middleware.log,
            beside={"anvil": anvil.process.pid},
        )

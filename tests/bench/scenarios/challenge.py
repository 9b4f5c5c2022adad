"""Unpaid requests to a priced route at 32 connections: 402 challenges a second."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.load import Payments
from bench.peers.nginx import nginx, refuse
from bench.peers.official import OFFICIAL
from bench.peers.python import bare_402
from bench.peers.tollway import PRICED, tollway
from bench.scenarios.paid import instant_config
from bench.servers import Server, answers
from bench.session import WARM_UP, Opening, Session

NAME = "challenge"
CASE = "c=32"
APART = "c=32, no two requests the same"
"""Answers that are given again to the same bytes are of no use here."""
CONNECTIONS = 32
_MANY = 200_000
"""Different requests: more than are sent in one round."""


def run(session: Session) -> None:
    """Measures it."""
    with ExitStack() as stack:
        stub = stack.enter_context(session.stub())
        ours = stack.enter_context(session.side_by_side(_ours(session, stub)))
        if not ours:
            return
        status, fields, body = answers(next(iter(ours.values())).url, PRICED)
        assert status == 402
        sizes = len(body), len(fields["payment-required"])
        peers = stack.enter_context(session.side_by_side(_peers(session, stub, *sizes)))
        good = session.expecting(ours | peers, PRICED, 402)
        for server in good.values():
            session.load(server, PRICED, CONNECTIONS, seconds=WARM_UP)
        session.interleave(
            CASE, {name: partial(session.load, server, PRICED, CONNECTIONS) for name, server in good.items()}
        )
        different = _different(Path(stack.enter_context(TemporaryDirectory())))
        session.interleave(
            APART,
            {
                name: partial(session.load, server, "/", CONNECTIONS, payments=different)
                for name, server in good.items()
                if name in ours or name == "web.Server"
            },
        )


def _different(folder: Path) -> Payments:
    """Unpaid requests, each with a query and a client of its own."""
    file = folder / "requests"
    file.write_text("".join(f"{PRICED}?n={number} agent/{number}\n" for number in range(_MANY)))
    return Payments(file, "User-Agent")


def _ours(session: Session, stub: Server) -> dict[str, Opening]:
    config = instant_config(stub.url)
    return {tree.name: partial(tollway, tree, config) for tree in session.options.trees}


def _peers(session: Session, stub: Server, body: int, header: int) -> dict[str, Opening]:
    found: dict[str, Opening] = {
        "nginx": partial(nginx, refuse(body, header)),
        "web.Server": partial(bare_402, body, header),
        **{name: partial(opening, stub.url, stub.url) for name, opening in OFFICIAL.items()},
    }
    return {name: opening for name, opening in found.items() if session.options.wanted(name)}

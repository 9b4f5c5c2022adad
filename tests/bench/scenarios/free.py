"""Free forwarding: 1 KB at 1, 32 and 256 connections, 1 MB at 8, and what is added to the way there (p50)."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial

from bench.peers.nginx import nginx, proxy_to
from bench.peers.node import node_proxy
from bench.peers.python import aiohttp_proxy, httpx_proxy
from bench.peers.tollway import free_config, tollway
from bench.servers import Server
from bench.session import WARM_UP, Opening, Session

NAME = "free"
DIRECT = "the upstream itself"
CASES = {
    "1 KB, c=1": ("/1k", 1, 1024),
    "1 KB, c=32": ("/1k", 32, 1024),
    "1 KB, c=256": ("/1k", 256, 1024),
    "1 MB, c=8": ("/1m", 8, 1024 * 1024),
}


def run(session: Session) -> None:
    """Measures it."""
    with session.stub() as upstream, session.side_by_side(_openings(session, upstream)) as servers:
        for case, (path, connections, length) in CASES.items():
            good = session.expecting(servers, path, 200, length)
            for server in good.values():
                session.load(server, path, connections, seconds=WARM_UP)
            session.interleave(
                case,
                {name: partial(session.load, server, path, connections) for name, server in good.items()},
            )


def _openings(session: Session, upstream: Server) -> dict[str, Opening]:
    options, url = session.options, upstream.url
    found: dict[str, Opening] = {
        tree.name: partial(tollway, tree, free_config(url), probe="/10b") for tree in options.trees
    }
    others: dict[str, Opening] = {
        "nginx": partial(nginx, proxy_to(url)),
        "aiohttp": partial(aiohttp_proxy, url),
        "http-proxy": partial(node_proxy, "http-proxy", url),
        "express": partial(node_proxy, "express", url),
        "starlette+httpx": partial(httpx_proxy, url),
        DIRECT: lambda: nullcontext(upstream),
    }
    return found | {name: opening for name, opening in others.items() if options.wanted(name)}

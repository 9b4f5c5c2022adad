"""The official x402 middlewares with a facilitator of our choosing: each sells ``GET /v1/1k`` for a cent."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from urllib.parse import urlsplit

from bench.peers.node import node_server
from bench.peers.tollway import PAY_TO, PRICED
from bench.plan import ROOT
from bench.servers import Server, program, running
from bench.session import local_url

Official = Callable[[str, str], AbstractContextManager[Server]]
"""Opens one by facilitator URL and upstream URL; one that is no proxy has no use for the second."""
FLASK_THREADS = 32


@contextmanager
def fastapi(facilitator: str, upstream: str) -> Iterator[Server]:
    """x402's FastAPI middleware on uvicorn; the goods are its own."""
    with program("bench.apps.x402_fastapi", local_url(), facilitator, PAY_TO) as server:
        yield server


@contextmanager
def fastapi_proxy(facilitator: str, upstream: str) -> Iterator[Server]:
    """The same in front of the upstream, with httpx."""
    with program("bench.apps.x402_fastapi", local_url(), facilitator, PAY_TO, upstream) as server:
        yield server


@contextmanager
def flask(facilitator: str, upstream: str) -> Iterator[Server]:
    """x402's Flask middleware on gunicorn, one process with threads."""
    url = local_url()
    env = {
        **os.environ,
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}",
        "FACILITATOR": facilitator,
        "PAY_TO": PAY_TO,
    }
    shape = ["-k", "gthread", "-w", "1", "--threads", str(FLASK_THREADS), "--keep-alive", "300"]
    listen = ["-b", f"127.0.0.1:{urlsplit(url).port}", "--log-level", "warning"]
    argv = [sys.executable, "-P", "-m", "gunicorn", *shape, *listen, "bench.apps.x402_flask:app"]
    with running(argv, url, env=env, probe=PRICED) as server:
        yield server


@contextmanager
def express(facilitator: str, upstream: str) -> Iterator[Server]:
    """@x402/express; the goods are its own."""
    with node_server("x402-express", facilitator, PAY_TO) as server:
        yield server


@contextmanager
def express_proxy(facilitator: str, upstream: str) -> Iterator[Server]:
    """The same in front of the upstream, with http-proxy-middleware."""
    with node_server("x402-express", facilitator, PAY_TO, upstream) as server:
        yield server


@contextmanager
def hono(facilitator: str, upstream: str) -> Iterator[Server]:
    """@x402/hono; the goods are its own."""
    with node_server("x402-hono", facilitator, PAY_TO) as server:
        yield server


OFFICIAL: dict[str, Official] = {
    "@x402/express": express,
    "@x402/hono": hono,
    "x402 Flask": flask,
    "x402 FastAPI": fastapi,
}
"""As middlewares in front of goods of their own: the least they do."""
OFFICIAL_PROXIES: dict[str, Official] = {
    "@x402/express as a proxy": express_proxy,
    "x402 FastAPI as a proxy": fastapi_proxy,
}

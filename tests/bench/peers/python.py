"""Python servers: the limits of the stack (bare aiohttp), plain proxies, the official middlewares."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bench.servers import Server, program
from bench.session import local_url


@contextmanager
def bare_402(body: int, header: int) -> Iterator[Server]:
    """An aiohttp ``web.Server`` handler on uvloop that returns a ready 402 of the same size."""
    with program("bench.apps.bare", local_url(), str(body), str(header)) as server:
        yield server


@contextmanager
def aiohttp_proxy(upstream: str) -> Iterator[Server]:
    """aiohttp's server and client, on uvloop."""
    with program("bench.apps.aiohttp_proxy", local_url(), upstream) as server:
        yield server


@contextmanager
def httpx_proxy(upstream: str) -> Iterator[Server]:
    """starlette and httpx on uvicorn."""
    with program("bench.apps.httpx_proxy", local_url(), upstream) as server:
        yield server

"""A listener whose answers a test lets go one by one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from gateway.answers import Answer
from gateway.errors import Problem
from gateway.listener import Listener
from gateway.receiving import Limits

GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"


@dataclass
class Served:
    """A listener whose answers the test lets go one by one."""

    listener: Listener
    server: asyncio.Server
    asked: asyncio.Queue[web.BaseRequest] = field(default_factory=asyncio.Queue)
    go: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(*self.server.sockets[0].getsockname())

    async def empty(self) -> None:
        """Waits until no connection is left."""
        async with asyncio.timeout(2):
            while self.listener.connections:  # noqa: ASYNC110 - aiohttp tells nobody of an end
                await asyncio.sleep(0.005)


def render(problem: Problem, request: web.BaseRequest) -> Answer:
    """Its code alone."""
    return Answer(problem.status, (), problem.code.encode(), close=problem.close)


@asynccontextmanager
async def serving() -> AsyncIterator[Served]:
    """One on a port of its own."""

    async def handle(request: web.BaseRequest) -> Answer:
        await served.asked.put(request)
        await served.go.acquire()
        return Answer(200, (), b"ok")

    listener = Listener(handle, render, Limits(header_timeout=0.3, keepalive_timeout=0.5, max_connections=3))
    server = await asyncio.get_running_loop().create_server(listener, "127.0.0.1", 0)
    served = Served(listener, server)
    yield served
    server.close()
    await listener.shutdown(0.1)

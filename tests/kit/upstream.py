"""A recording stand-in for the API behind the gateway: raw TCP, so that it can also misbehave.

    with Upstream() as api:
        api.on("/v1/forecast", status(500), ok_json({"sun": True}))   # in turn; the last one stays
        ...
        assert api.count("/v1/forecast") == 2

It runs in a thread of its own: usable from tests of either kind. The answers are in ``kit.upstream_answers``.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

_START_TIMEOUT = 5.0
_READ_LIMIT = 1 << 20


@dataclass(frozen=True)
class Received:
    """One request as it came in; ``raw`` is every byte of it."""

    connection: int
    raw: bytes
    body: bytes

    @property
    def head(self) -> bytes:
        """Request line and header lines."""
        return self.raw.partition(b"\r\n\r\n")[0]

    @property
    def method(self) -> str:
        """The method as sent."""
        return self._request_line[0]

    @property
    def target(self) -> str:
        """The request target as sent."""
        return self._request_line[1]

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    @property
    def header_lines(self) -> list[tuple[str, str]]:
        """Header lines in their order, names as sent."""
        lines = self.head.decode("latin-1").split("\r\n")[1:]
        return [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]

    def header(self, name: str) -> str | None:
        """The value of the only header of that name, or None; more than one is an error."""
        values = [value for key, value in self.header_lines if key.lower() == name.lower()]
        if len(values) > 1:
            raise AssertionError(f"{name} came {len(values)} times: {values}")
        return values[0] if values else None

    @property
    def _request_line(self) -> list[str]:
        return self.head.partition(b"\r\n")[0].decode("latin-1").split(" ")


@dataclass(frozen=True)
class Exchange:
    """What an answer works with. ``number`` counts all requests from 1."""

    received: Received
    number: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        """Writes and waits until it has left."""
        self.writer.write(data)
        await self.writer.drain()


Behaviour = Callable[[Exchange], Awaitable[bool]]
"""Answers one request; says whether the connection can take another."""


class Upstream:
    """Records every request and answers as scripted; by default 200 and an account of the request."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.connections = 0
        self._scripts: dict[str, list[Behaviour]] = {}
        self._played: dict[str, int] = defaultdict(int)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="upstream", daemon=True)
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """Base URL, without a slash at the end."""
        if self._server is None:
            raise RuntimeError("the upstream is not running")
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def on(self, path: str, *answers: Behaviour) -> None:
        """Scripts the answers to requests whose target without query is ``path``; starts their turn anew."""
        self._scripts[path] = list(answers)
        self._played[path] = 0

    def count(self, path: str | None = None) -> int:
        """How many requests came, in all or for one path."""
        return sum(1 for each in list(self.received) if path is None or each.path == path)

    def last(self, path: str | None = None) -> Received:
        """The newest request, of all or of one path."""
        return [each for each in list(self.received) if path is None or each.path == path][-1]

    def wait_for(self, count: int, path: str | None = None, timeout: float = 10.0) -> None:
        """Waits until that many requests have come (from sync code; do not block a loop with it)."""
        deadline = time.monotonic() + timeout
        while self.count(path) < count:
            if time.monotonic() > deadline:
                raise AssertionError(f"{self.count(path)} of {count} requests came")
            time.sleep(0.005)

    def forget(self) -> None:
        """Drops what was recorded and scripted."""
        self.received.clear()
        self._scripts.clear()
        self._played.clear()

    def start(self) -> Self:
        """Listens on a free port."""
        self._thread.start()
        opening = asyncio.run_coroutine_threadsafe(self._open(), self._loop)
        self._server = opening.result(_START_TIMEOUT)
        return self

    def stop(self) -> None:
        """Stops listening and drops every connection."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(_START_TIMEOUT)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_START_TIMEOUT)
        self._loop.close()

    async def _open(self) -> asyncio.Server:
        return await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=_READ_LIMIT, backlog=1024)

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = self._loop.create_task(self._converse(reader, writer, self.connections))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _converse(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: int
    ) -> None:
        try:
            again = True
            while again:
                received = await _read_request(reader, connection)
                self.received.append(received)
                exchange = Exchange(received, len(self.received), reader, writer)
                again = await self._next_answer(received.path)(exchange)
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    def _next_answer(self, path: str) -> Behaviour:
        script = self._scripts.get(path)
        if not script:
            return account
        turn = min(self._played[path], len(script) - 1)
        self._played[path] += 1
        return script[turn]

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


async def account(exchange: Exchange) -> bool:
    """200 and JSON that says which request this was: no two answers are the same."""
    received = exchange.received
    told = f'{{"number": {exchange.number}, "method": "{received.method}", "bytes": {len(received.body)}}}'
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(told)}\r\n\r\n"
    await exchange.send((head + ("" if received.method == "HEAD" else told)).encode())
    return True


async def _read_request(reader: asyncio.StreamReader, connection: int) -> Received:
    head = await reader.readuntil(b"\r\n\r\n")
    # A name sent twice is recorded like anything else; the first one frames.
    framing = {name.lower(): value for name, value in reversed(Received(connection, head, b"").header_lines)}
    if framing.get("transfer-encoding", "").lower() == "chunked":
        raw, body = await _read_chunks(reader)
    else:
        raw = body = await reader.readexactly(int(framing.get("content-length", 0)))
    return Received(connection, head + raw, body)


async def _read_chunks(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    raw = body = b""
    while True:
        size_line = await reader.readuntil(b"\r\n")
        size = int(size_line.split(b";")[0], 16)
        chunk = await reader.readexactly(size + 2)
        raw += size_line + chunk
        body += chunk[:-2]
        if size == 0:
            return raw, body

"""After an upgrade: bytes pass both ways as they are, until one side ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from facilitator.http1.connection import Connection as Upstream
from gateway.connection import Connection as Client

_PIPE_LIMIT = 256 * 1024
"""Bytes that may wait for a side before no more is read for it."""


async def tunnel(client: Client, upstream: Upstream) -> None:
    """Until one side ends; then the client is hung up on once it has what was sent."""
    done = asyncio.get_running_loop().create_future()
    up = _Pipe(client, upstream, upstream.drained, done)
    down = _Pipe(upstream, client, client._drain_helper, done)
    upstream.attach(down.feed, down.feed_eof)
    client.set_parser(_Parser(up))  # type: ignore[arg-type]
    await done
    if client.transport is not None:
        client.transport.close()


class _Pipe:
    """One side's bytes on their way to the other."""

    def __init__(
        self,
        source: Client | Upstream,
        sink: Client | Upstream,
        drained: Callable[[], Awaitable[None]],
        done: asyncio.Future[None],
    ) -> None:
        self._source = source
        self._sink = sink
        self._drained = drained
        self._done = done
        self._resume: asyncio.Task[None] | None = None

    def feed(self, data: bytes) -> None:
        """Bytes from the source."""
        transport = self._sink.transport
        if transport is None or transport.is_closing():
            self.feed_eof()
            return
        transport.write(data)
        if transport.get_write_buffer_size() > _PIPE_LIMIT and self._source.transport is not None:
            self._source.transport.pause_reading()
            self._resume = asyncio.ensure_future(self._resume_when_drained())

    def feed_eof(self) -> None:
        """The source ended."""
        if not self._done.done():
            self._done.set_result(None)

    async def _resume_when_drained(self) -> None:
        try:
            await self._drained()
        except ConnectionError:
            self.feed_eof()
            return
        if self._source.transport is not None:
            self._source.transport.resume_reading()


class _Parser:
    """Stands where aiohttp expects a payload parser."""

    def __init__(self, pipe: _Pipe) -> None:
        self._pipe = pipe

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Bytes from the client."""
        self._pipe.feed(data)
        return False, b""

    def feed_eof(self) -> None:
        """The client ended."""
        self._pipe.feed_eof()

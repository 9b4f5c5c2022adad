"""What came back for one request: the head at once, the content as it arrives."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Self

from facilitator.http1.request import Field

if TYPE_CHECKING:
    from facilitator.http1.connection import Connection

READ_AHEAD = 128 * 1024
"""Bytes of an answer that may wait, for their reader or where they are poured, before no more is read."""


class Answer:
    """One answer. Leaving its ``with`` before it is whole closes its connection."""

    __slots__ = (
        "_chunks",
        "_connection",
        "_error",
        "_loop",
        "_sink",
        "_waiter",
        "fields",
        "length",
        "size",
        "status",
        "tunnel",
        "whole",
    )

    def __init__(self, connection: Connection, loop: asyncio.AbstractEventLoop) -> None:
        self._connection: Connection | None = connection
        self._loop = loop
        self._chunks: list[bytes] = []
        self._error: Exception | None = None
        self._sink: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self.status = 0
        """0 until the head has come."""
        self.fields: list[Field] = []
        self.length: int | None = None
        """The Content-Length it names, also where there is no content (HEAD)."""
        self.size = 0
        """Bytes that wait to be read."""
        self.whole = False
        """Whether all of it has come."""
        self.tunnel: Connection | None = None
        """After a 101: the connection, from now on for other bytes."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *args: object) -> None:
        self.close()

    async def begun(self) -> None:
        """Wait for the head; HttpError, or what the request's content raised, where none comes."""
        while not self.status and self._error is None:
            await self._news()
        if self._error is not None and not self.status:
            raise self._error

    async def read(self) -> bytes:
        """The next bytes of the content, ``b""`` at its end; HttpError where it does not end as announced."""
        while not self._chunks:
            if self._error is not None:
                raise self._error
            if self.whole:
                return b""
            await self._news()
        return self.taken()

    async def pour(self, sink: asyncio.Transport, send: Callable[[bytes], Awaitable[None]]) -> None:
        """Have the rest of the content written to ``sink`` as it comes, without a task's turn for each piece;
        ``send`` writes there, too, and waits while it is full. HttpError as ``read``."""
        self._sink = sink
        try:
            while True:
                await send(self._take())
                if self._connection is not None:
                    self._connection.resume()
                if self._error is not None:
                    raise self._error
                if self.whole:
                    return
                await self._news()
        finally:
            self._sink = None

    def taken(self) -> bytes:
        """What has come of the content and was not read yet."""
        data = self._take()
        if self._connection is not None:
            self._connection.resume()
        return data

    def close(self) -> None:
        """Want no more of it; its connection is not used again unless it is whole."""
        if self._connection is not None:
            self._connection.close()
        elif self.tunnel is not None and self.tunnel.transport is not None:
            self.tunnel.transport.close()

    def _take(self) -> bytes:
        chunks, self._chunks, self.size = self._chunks, [], 0
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    # The connection's side

    def begin(self, status: int, fields: list[Field], length: int | None) -> None:
        """The head is here."""
        self.status = status
        self.fields = fields
        self.length = length
        self._wake()

    def add(self, data: bytes) -> None:
        """More content."""
        if self._sink is not None and not self._sink.is_closing():
            self._sink.write(data)
            if self._sink.get_write_buffer_size() > READ_AHEAD and self._connection is not None:
                self._connection.pause()
                self._wake()
            return
        self._chunks.append(data)
        self.size += len(data)
        self._wake()

    def end(self, error: Exception | None = None) -> None:
        """Nothing more comes: it is whole, or ended by ``error``."""
        self._connection = None
        self._error = error
        self.whole = error is None
        self._wake()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _news(self) -> asyncio.Future[None]:
        self._waiter = self._loop.create_future()
        return self._waiter

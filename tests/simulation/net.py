"""Connections between clients and gateways: the gateway's side is the real listener, the wire is not.

What a gateway has written into its kernel reaches the client at once, and a client that hangs up is
seen at once by a process that runs: a frozen one learns of it when it goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from simulation.loop import Domain, VirtualLoop


class Reset(Exception):
    """The connection ended before the answer was complete."""


class Reply:
    """One answer as a client reads it."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self.status = 0
        self.fields: dict[str, str] = {}
        self.body = b""
        self.complete = False

    def feed(self, data: bytes) -> None:
        """More bytes."""
        self._bytes += data
        if not self.status and b"\r\n\r\n" in self._bytes:
            self._head()
        if self.status and not self.complete:
            self._content()

    def _head(self) -> None:
        head, _, rest = bytes(self._bytes).partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        self.status = int(first.split(" ")[1])
        self.fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        self._bytes = bytearray(rest)

    def _content(self) -> None:
        if self.fields.get("transfer-encoding") == "chunked":
            self._chunks()
        elif len(self._bytes) >= int(self.fields.get("content-length", "0")):
            self.body, self.complete = bytes(self._bytes), True

    def _chunks(self) -> None:
        while b"\r\n" in self._bytes:
            size, _, rest = bytes(self._bytes).partition(b"\r\n")
            length = int(size, 16)
            if len(rest) < length + 2:
                return
            self.body += rest[:length]
            self._bytes = bytearray(rest[length + 2 :])
            if not length:
                self.complete = True
                return

    @property
    def begun(self) -> bool:
        """Whether anything of it has come."""
        return bool(self.status or self._bytes)


class Witness(Protocol):
    """Looks at what clients get."""

    def sends(self, pipe: Pipe) -> None:
        """The gateway lets go of bytes for a client."""

    def arrives(self, pipe: Pipe) -> None:
        """A client has a whole answer."""


class Pipe(asyncio.Transport):
    """The gateway's transport of one connection, and the client's end of it."""

    def __init__(
        self, loop: VirtualLoop, domain: Domain, witness: Witness, slow: Callable[[], float]
    ) -> None:
        """``witness`` sees every byte as it is written; ``slow`` says how long the client's kernel takes."""
        super().__init__()
        self._loop = loop
        self._domain = domain
        self._witness = witness
        self._slow = slow
        self._protocol: Any = None
        self._buffer: list[bytes] = []
        self._paused = False
        self._closing = False
        self._lost = False
        self.reply = Reply()
        self.written = b""
        """All that the gateway wrote, whether or not the client's kernel has it yet."""
        self.about: Any = None
        """Whose connection it is."""
        self._news: asyncio.Future[None] = loop.create_future()

    # The client's side

    def open(self, protocol: Any) -> None:
        """The gateway accepts."""
        self._protocol = protocol
        protocol.connection_made(self)

    def receive(self, data: bytes) -> None:
        """The client sends."""
        if not self._lost:
            self._protocol.data_received(data)

    async def answered(self) -> Reply:
        """The whole answer; Reset where the connection ends before."""
        while not self.reply.complete:
            if self._lost:
                raise Reset
            await asyncio.shield(self._news)
        return self.reply

    def hang_up(self) -> None:
        """The client closes the connection."""
        self._end()

    def die(self) -> None:
        """The gateway's process is gone; what its kernel has still goes out."""
        self._lost = True
        self._buffer.clear()
        self._tell()

    def _tell(self) -> None:
        if not self._news.done():
            self._news.set_result(None)
        self._news = self._loop.create_future()

    def _end(self) -> None:
        if not self._lost:
            self._lost = self._closing = True
            self._buffer.clear()
            if self._protocol is not None:
                self._loop.within(self._domain, self._protocol.connection_lost, None)
            self._tell()

    # The gateway's side

    def write(self, data: bytes) -> None:
        """Into the buffer, and on to the client while that takes it."""
        self.writelines([data])

    def writelines(self, parts: Any) -> None:
        """The same for several parts."""
        if self._lost or self._closing:
            return
        data = b"".join(parts)
        self.written += data
        self._witness.sends(self)
        self._buffer.append(data)
        wait = self._slow()
        if wait and not self._paused:
            self._paused = True
            self._protocol.pause_writing()
            self._loop.call_later(wait, self._drain)
        if not self._paused:
            self._flush()

    def _drain(self) -> None:
        self._paused = False
        if not self._lost:
            self._flush()
            self._protocol.resume_writing()
            if self._closing:
                self._end()

    def _flush(self) -> None:
        data = b"".join(self._buffer)
        self._buffer.clear()
        if data:
            self.reply.feed(data)
            if self.reply.complete:
                self._witness.arrives(self)
            self._tell()

    def write_eof(self) -> None:
        """The client sees the end; this simulation's clients then close."""
        self.close()

    def can_write_eof(self) -> bool:
        """TCP."""
        return True

    def close(self) -> None:
        """After what is buffered."""
        self._closing = True
        if not self._paused:
            self._end()

    def abort(self) -> None:
        """At once."""
        self._end()

    def is_closing(self) -> bool:
        """Whether nothing goes through any more."""
        return self._closing or self._lost

    def get_write_buffer_size(self) -> int:
        """Bytes the client's kernel has not taken."""
        return sum(map(len, self._buffer))

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Every byte counts here anyhow."""

    def pause_reading(self) -> None:
        """Clients send one request and wait."""

    def resume_reading(self) -> None:
        """Clients send one request and wait."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """The peer."""
        return ("192.0.2.1", 50000) if name == "peername" else default

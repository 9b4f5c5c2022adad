"""Answers as ready bytes: what is written to a client, and nothing that was not meant.

aiohttp's ``StreamResponse`` adds fields of its own (Server, a default Content-Type) and
costs twice as much; its request handler only asks for ``prepare``, ``write_eof`` and
``keep_alive``. Framing follows RFC 9112 section 6.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from email.utils import formatdate
from http import HTTPStatus
from typing import Any

from aiohttp import web

from facilitator.crashpoints import reach
from gateway.headers import Field

_LINES = {each.value: b"HTTP/1.1 %d %s" % (each.value, each.phrase.encode()) for each in HTTPStatus}
_BODILESS = frozenset({204, 304})
SEND_TIMEOUT = 60.0
Ending = Callable[[bool], None]
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def has_body(method: str, status: int) -> bool:
    """Whether an answer to ``method`` with ``status`` carries content (RFC 9110 section 6.4.1)."""
    return method != "HEAD" and status not in _BODILESS and status >= 200


class Answer:
    """A whole answer. ``length`` is the Content-Length to show when the body is not sent (HEAD)."""

    __slots__ = ("_ends", "about", "body", "fields", "keep_alive", "length", "status")

    def __init__(
        self,
        status: int,
        fields: Iterable[Field] = (),
        body: bytes = b"",
        *,
        close: bool = False,
        length: int | None = None,
    ) -> None:
        self.status = status
        self.fields = list(fields)
        self.body = body
        self.keep_alive = not close
        self.length = length
        self.about: Any = None
        """What it is an answer to, where the same may be said again."""
        self._ends: list[Ending] = []

    def at_end(self, ending: Ending) -> None:
        """Have ``ending`` called once with whether the client's kernel took the whole answer."""
        self._ends.append(ending)

    def encode(self, request: web.BaseRequest) -> bytes:
        """The whole answer as ``request`` needs it."""
        body = self.body if has_body(request.method, self.status) else b""
        self.keep_alive = self.keep_alive and stays_open(request)
        head = Head(self.status, self.fields, self._framing(request.method))
        return head.encode(request, self.keep_alive) + body

    async def prepare(self, request: web.BaseRequest) -> None:
        """Write everything; ConnectionResetError when nobody is there any more."""
        taken = False
        try:
            await send(request, self.encode(request))
            if self._ends:
                await drained(request)
                reach("K11")
                taken = True
        finally:
            for ending in self._ends:
                ending(taken)

    async def write_eof(self) -> None:
        """Nothing is left: ``prepare`` wrote the whole answer."""

    def _framing(self, method: str) -> Field | None:
        if self.status in _BODILESS:
            return None
        length = len(self.body)
        if method == "HEAD":
            length = self.length or length
            if not length:
                return None
        return (b"Content-Length", str(length).encode())


class Written:
    """An answer that was already streamed by its handler."""

    __slots__ = ("keep_alive", "status")

    def __init__(self, status: int, keep_alive: bool) -> None:
        self.status = status
        self.keep_alive = keep_alive

    async def prepare(self, request: web.BaseRequest) -> None:
        """Already written."""

    async def write_eof(self) -> None:
        """Already written."""


class Head:
    """A status line and header fields; the standard phrase, never the upstream's."""

    __slots__ = ("fields", "framing", "status")

    def __init__(self, status: int, fields: Iterable[Field], framing: Field | None) -> None:
        self.status = status
        self.fields = fields
        self.framing = framing

    def encode(self, request: web.BaseRequest, keep_alive: bool) -> bytes:
        """The head's bytes, with Date and Connection as this exchange needs them."""
        lines = [_LINES.get(self.status) or b"HTTP/1.1 %d " % self.status]
        dated = False
        for name, value in self.fields:
            lines.append(b"%b: %b" % (name, value))
            dated = dated or (len(name) == 4 and name.lower() == b"date")
        if self.framing:
            lines.append(b"%b: %b" % self.framing)
        if not dated:
            lines.append(_date.line())
        if not keep_alive:
            lines.append(b"Connection: close")
        elif request.version < (1, 1):
            lines.append(b"Connection: keep-alive")
        lines.append(b"\r\n")
        return b"\r\n".join(lines)


class _Date:
    """The Date field (RFC 9110 section 6.6.1), written once a second."""

    def __init__(self) -> None:
        self._second = 0
        self._line = b""

    def line(self) -> bytes:
        second = int(time.time())
        if second != self._second:
            self._second, self._line = second, b"Date: " + formatdate(second, usegmt=True).encode()
        return self._line


_date = _Date()


def stays_open(request: web.BaseRequest) -> bool:
    """Whether the client's connection can carry another request after this one.

    Not while a body is still coming, nor where ``Expect`` leaves open whether one will, nor after
    an upgrade that aiohttp does not know: it drops what it has read beyond such a request.
    """
    payload = request._payload
    arrived = payload.at_eof() if "Expect" in request.headers else payload.is_eof()
    if request._message.upgrade and request.headers.get("Upgrade", "").lower() != "websocket":
        return False
    return arrived and request.keep_alive and not getattr(request.protocol, "ending", False)


def framing(request: web.BaseRequest, status: int, length: str | None) -> Field | None:
    """How an answer that is passed on as it comes tells its end; None: it has no content, or by closing."""
    if length is not None and status != 204:
        return (b"Content-Length", length.encode())
    if not has_body(request.method, status):
        return None
    return (b"Transfer-Encoding", b"chunked") if request.version >= (1, 1) else None


async def send(request: web.BaseRequest, *parts: bytes) -> None:
    """Write to the client and wait while its buffer is full; ConnectionResetError when it is gone.

    A client that takes nothing for ``SEND_TIMEOUT`` seconds is gone, too: it would hold our memory.
    """
    transport, protocol = request.transport, request.protocol
    if transport is None or protocol is None or transport.is_closing():
        raise ConnectionResetError("the client is gone")
    transport.writelines(parts)
    if protocol.writing_paused:
        await _while_full(transport, protocol)


async def drained(request: web.BaseRequest) -> None:
    """Wait until the kernel has everything that was sent; ConnectionResetError where it never will."""
    transport, protocol = request.transport, request.protocol
    if transport is None or protocol is None:
        raise ConnectionResetError("the client is gone")
    if not transport.get_write_buffer_size():
        return
    transport.set_write_buffer_limits(high=0)
    try:
        await _while_full(transport, protocol)
    finally:
        transport.set_write_buffer_limits()


async def _while_full(transport: asyncio.Transport, protocol: web.RequestHandler) -> None:
    while protocol.writing_paused:
        reach("K10")
        waiting = transport.get_write_buffer_size()
        try:
            async with asyncio.timeout(SEND_TIMEOUT):
                await protocol._drain_helper()
        except TimeoutError:
            if transport.get_write_buffer_size() >= waiting:
                transport.abort()
                raise ConnectionResetError("the client does not read") from None
        except ConnectionError as error:
            # Its traceback and the future it came from hold each other, and with them the body.
            raise ConnectionResetError("the client is gone") from error.with_traceback(None)

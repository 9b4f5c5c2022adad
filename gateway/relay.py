"""Free routes: bodies and answers pass through as they come, upgrades become a tunnel."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import aiohttp
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import Payload
from aiohttp.web_protocol import RequestHandler

from gateway.accept import Incoming, invite_body
from gateway.answers import Head, Written, framing, has_body, send, stays_open
from gateway.errors import ClientError, Problem, UpstreamError
from gateway.forward import Forwarder, checked_fields, chunks_of
from gateway.headers import emittable, from_upstream, values
from gateway.listener import Connection

_PIPE_LIMIT = 256 * 1024
_CLIENT_GONE = 499
"""What the log says of a client that did not wait for its answer (nginx's number)."""
_OTHER_HTTP = ("h2", "h3", "http", "tls")
"""Upgrades to HTTP itself: inside such a tunnel paid paths could be asked for, and nobody would know."""


class Relay:
    """Streams one exchange between a client and an upstream."""

    def __init__(self, forwarder: Forwarder, max_body: int, body_timeout: float) -> None:
        self._forwarder = forwarder
        self._max_body = max_body
        self._body_timeout = body_timeout

    async def pass_through(self, incoming: Incoming, upstream: str, timeout: float) -> Written:
        """Forward without holding anything back; ``timeout`` (seconds) to the headers and between chunks."""
        try:
            async with _until_gone(incoming.raw):
                if wanted := _upgrade_of(incoming):
                    return await self._upgrade(incoming, upstream, timeout, wanted)
                return await self._stream(incoming, upstream, timeout)
        except ConnectionError:
            return Written(_CLIENT_GONE, keep_alive=False)

    async def _stream(self, incoming: Incoming, upstream: str, timeout: float) -> Written:
        body = self._body(incoming, timeout)
        try:
            async with self._forwarder.exchange(incoming, upstream, body, (), timeout) as response:
                return await _answer(incoming, response)
        except UpstreamError:
            if body is not None and body.problem is not None:
                raise body.problem from None
            raise

    def _body(self, incoming: Incoming, patience: float) -> RequestBody | None:
        if not incoming.has_body:
            return None
        if (incoming.raw.content_length or 0) > self._max_body:
            raise ClientError("body_too_large", "the request body is too large", status=413, close=True)
        invite_body(incoming)
        return RequestBody(incoming.raw, self._max_body, self._body_timeout, patience)

    async def _upgrade(self, incoming: Incoming, upstream: str, timeout: float, wanted: bytes) -> Written:
        extra = ((b"Connection", b"Upgrade"), (b"Upgrade", wanted))
        async with self._forwarder.exchange(incoming, upstream, None, extra, timeout) as response:
            if response.status != 101:
                return await _answer(incoming, response)
            return await _tunnel(incoming, response)


def _upgrade_of(incoming: Incoming) -> bytes | None:
    """The protocols to ask the upstream for; None where the request is taken as an ordinary one."""
    wanted = b", ".join(values(incoming.fields, b"upgrade"))
    tokens = [token.strip().lower() for token in wanted.decode().split(",")]
    if not incoming.raw._message.upgrade or incoming.has_body or incoming.raw.version < (1, 1):
        return None
    return None if any(token.startswith(_OTHER_HTTP) for token in tokens) else wanted


@asynccontextmanager
async def _until_gone(request: web.BaseRequest) -> AsyncIterator[None]:
    """Give up what is done inside when the client's connection is lost: ConnectionResetError."""
    task, connection = asyncio.current_task(), cast(Connection, request.protocol)
    gone = False
    assert task is not None

    def give_up() -> None:
        nonlocal gone
        gone = True
        task.cancel()

    connection.on_lost = give_up
    try:
        yield
    except asyncio.CancelledError:
        if gone and not task.uncancel():
            raise ConnectionResetError("the client is gone") from None
        raise
    finally:
        connection.on_lost = None


class RequestBody(Payload):
    """A client's body on its way to the upstream; ``problem`` says why it ended early."""

    def __init__(self, request: web.BaseRequest, limit: int, timeout: float, patience: float) -> None:
        """``timeout`` bounds the client's pauses, ``patience`` the upstream's (seconds)."""
        super().__init__(None)
        self._request = request
        self._left = limit
        self._timeout = timeout
        self._patience = patience
        self.problem: Problem | None = None

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """A stream has no text."""
        raise TypeError("a request body is only written")

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Pass on what comes, the header at once."""
        writer.send_headers()
        while chunk := await self._next():
            async with asyncio.timeout(self._patience):
                await writer.write(chunk)

    async def _next(self) -> bytes:
        try:
            async with asyncio.timeout(self._timeout):
                chunk: bytes = await self._request.content.readany()
        except TimeoutError:
            raise self._fail("body_timeout", "the request body came too slowly", 408) from None
        except (ConnectionError, web.RequestPayloadError):
            raise self._fail("bad_request", "the request body ended early or is malformed", 400) from None
        self._left -= len(chunk)
        if self._left < 0:
            raise self._fail("body_too_large", "the request body is too large", 413)
        return chunk

    def _fail(self, code: str, detail: str, status: int) -> ClientError:
        problem = ClientError(code, detail, status=status, close=True)
        self.problem = problem
        return problem


async def _answer(incoming: Incoming, response: aiohttp.ClientResponse) -> Written:
    """Write the answer as it comes; what breaks after the head ends the connection without a clean end."""
    request = incoming.raw
    fields = checked_fields(response)
    framed = framing(request, response.status, response.headers.get("Content-Length"))
    carries = has_body(request.method, response.status)
    ends = framed is not None or not carries
    keep_alive = ends and stays_open(request)
    await send(request, Head(response.status, fields, framed).encode(request, keep_alive))
    try:
        if carries:
            await _pump(request, response, framed == (b"Transfer-Encoding", b"chunked"))
    except UpstreamError:
        if request.transport is not None:
            request.transport.abort()
        return Written(response.status, keep_alive=False)
    return Written(response.status, keep_alive)


async def _pump(request: web.BaseRequest, response: aiohttp.ClientResponse, chunked: bool) -> None:
    async for chunk in chunks_of(response):
        await send(request, *((b"%x\r\n" % len(chunk), chunk, b"\r\n") if chunked else (chunk,)))
    if chunked:
        await send(request, b"0\r\n\r\n")


async def _tunnel(incoming: Incoming, response: aiohttp.ClientResponse) -> Written:
    """Pass on the 101, then bytes both ways until one side ends."""
    client, connection = incoming.raw.protocol, response.connection
    if connection is None or connection.protocol is None or client is None or connection.transport is None:
        raise UpstreamError("upstream_invalid", "the upstream closed during the upgrade")
    upstream = connection.protocol
    wanted = b", ".join(values(response.raw_headers, b"upgrade"))
    fields = [*from_upstream(response.raw_headers), (b"Connection", b"Upgrade"), (b"Upgrade", wanted)]
    if not emittable(fields):
        raise UpstreamError("upstream_invalid", "the upstream's answer is broken")
    await send(incoming.raw, Head(101, fields, None).encode(incoming.raw, keep_alive=True))
    cast(Connection, client).on_lost = None
    done = asyncio.get_running_loop().create_future()
    upstream.set_parser(_Pipe(upstream, client, done), None)
    client.set_parser(_Pipe(client, upstream, done))  # type: ignore[arg-type]
    await done
    if client.transport is not None:
        client.transport.close()
    return Written(101, keep_alive=False)


class _Pipe:
    """Feeds one side's bytes to the other; stands where aiohttp expects a payload parser."""

    def __init__(self, source: Any, sink: Any, done: asyncio.Future[None]) -> None:
        self._source: RequestHandler = source
        self._sink: RequestHandler = sink
        self._done = done
        self._resume: asyncio.Task[None] | None = None

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Bytes from the source."""
        transport = self._sink.transport
        if transport is None or transport.is_closing():
            self.feed_eof()
            return True, b""
        transport.write(data)
        if transport.get_write_buffer_size() > _PIPE_LIMIT and self._source.transport is not None:
            self._source.transport.pause_reading()
            self._resume = asyncio.ensure_future(self._resume_when_drained())
        return False, b""

    def feed_eof(self) -> None:
        """The source ended."""
        if not self._done.done():
            self._done.set_result(None)

    async def _resume_when_drained(self) -> None:
        try:
            await self._sink._drain_helper()
        except ConnectionError:
            self.feed_eof()
            return
        if self._source.transport is not None:
            self._source.transport.resume_reading()

"""Free routes: bodies and answers pass through as they come, upgrades become a tunnel."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from gateway.accept import Incoming, invite_body
from gateway.answers import Head, Written, has_body, send, stays_open
from gateway.errors import ClientError, Problem, UpstreamError
from gateway.forward import Forwarder, checked_fields, chunks_of
from gateway.headers import Field, from_upstream

_PIPE_LIMIT = 256 * 1024


class Relay:
    """Streams one exchange between a client and an upstream."""

    def __init__(self, forwarder: Forwarder, max_body: int, body_timeout: float) -> None:
        self._forwarder = forwarder
        self._max_body = max_body
        self._body_timeout = body_timeout

    async def pass_through(self, incoming: Incoming, upstream: str, timeout: float) -> Written:
        """Forward without holding anything back; ``timeout`` (seconds) to the headers and between chunks."""
        if incoming.raw._message.upgrade:
            return await self._upgrade(incoming, upstream, timeout)
        body = self._body(incoming)
        stream = None if body is None else aiter(body)
        try:
            async with self._forwarder.exchange(incoming, upstream, stream, (), timeout) as response:
                return await _answer(incoming, response)
        except UpstreamError:
            if body is not None and body.problem is not None:
                raise body.problem from None
            raise

    def _body(self, incoming: Incoming) -> RequestBody | None:
        if not incoming.has_body:
            return None
        if (incoming.raw.content_length or 0) > self._max_body:
            raise ClientError("body_too_large", "the request body is too large", status=413, close=True)
        invite_body(incoming)
        return RequestBody(incoming.raw, self._max_body, self._body_timeout)

    async def _upgrade(self, incoming: Incoming, upstream: str, timeout: float) -> Written:
        wanted = incoming.headers.get("Upgrade", "").encode("latin-1")
        extra = ((b"Connection", b"Upgrade"), (b"Upgrade", wanted))
        async with self._forwarder.exchange(incoming, upstream, None, extra, timeout) as response:
            if response.status != 101:
                return await _answer(incoming, response)
            return await _tunnel(incoming, response)


class RequestBody:
    """A client's body as the upstream reads it; ``problem`` says why it ended early."""

    def __init__(self, request: web.BaseRequest, limit: int, timeout: float) -> None:
        self._request = request
        self._left = limit
        self._timeout = timeout
        self.problem: Problem | None = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while chunk := await self._next():
            yield chunk

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
    framing = _framing(request, response)
    keep_alive = stays_open(request) and framing is not None
    chunked = framing == (b"Transfer-Encoding", b"chunked")
    carries = has_body(request.method, response.status)
    await send(request, Head(response.status, fields, framing).encode(request, keep_alive or not carries))
    try:
        if carries:
            await _pump(request, response, chunked)
    except UpstreamError:
        if request.transport is not None:
            request.transport.abort()
        return Written(response.status, keep_alive=False)
    return Written(response.status, stays_open(request) and (keep_alive or not carries))


async def _pump(request: web.BaseRequest, response: aiohttp.ClientResponse, chunked: bool) -> None:
    async for chunk in chunks_of(response):
        await send(request, b"%x\r\n%b\r\n" % (len(chunk), chunk) if chunked else chunk)
    if chunked:
        await send(request, b"0\r\n\r\n")


def _framing(request: web.BaseRequest, response: aiohttp.ClientResponse) -> Field | None:
    length = response.headers.get("Content-Length")
    if length is not None and response.status != 204:
        return (b"Content-Length", length.encode())
    if not has_body(request.method, response.status):
        return None
    return (b"Transfer-Encoding", b"chunked") if request.version >= (1, 1) else None


async def _tunnel(incoming: Incoming, response: aiohttp.ClientResponse) -> Written:
    """Pass on the 101, then bytes both ways until one side ends."""
    client, connection = incoming.raw.protocol, response.connection
    if connection is None or connection.protocol is None or client is None or connection.transport is None:
        raise UpstreamError("upstream_invalid", "the upstream closed during the upgrade")
    upstream = connection.protocol
    wanted = response.headers.get("Upgrade", "").encode("latin-1")
    fields = [*from_upstream(response.raw_headers), (b"Connection", b"Upgrade"), (b"Upgrade", wanted)]
    await send(incoming.raw, Head(101, fields, None).encode(incoming.raw, keep_alive=True))
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

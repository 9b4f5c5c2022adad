"""Free routes: bodies and answers pass through as they come, upgrades become a tunnel."""

from __future__ import annotations

import asyncio
from functools import partial
from types import TracebackType
from typing import cast

from aiohttp import web

from facilitator.http1.answer import Answer
from facilitator.http1.request import Body
from gateway.accept import Incoming, invite_body
from gateway.answers import Head, Written, framing, has_body, send, stays_open
from gateway.connection import Connection
from gateway.errors import ClientError, Problem, UpstreamError
from gateway.forward import Forwarder, checked_fields, next_of, pour
from gateway.headers import from_upstream, values
from gateway.tunnel import tunnel

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
            with _UntilGone(incoming.raw):
                if wanted := _upgrade_of(incoming):
                    return await self._upgrade(incoming, upstream, timeout, wanted)
                body = self._body(incoming)
                with await self._forwarder.exchange(incoming, upstream, body, (), timeout) as answer:
                    return await _pass_on(incoming, answer)
        except ConnectionError:
            return Written(_CLIENT_GONE, keep_alive=False)

    def _body(self, incoming: Incoming) -> Body:
        if not incoming.has_body:
            return b""
        request = incoming.raw
        if (request.content_length or 0) > self._max_body:
            raise _too_large()
        invite_body(incoming)
        if request.content.is_eof() and request.content.exception() is None:
            body: bytes = request.content.read_nowait()
            if len(body) > self._max_body:
                raise _too_large()
            return body
        return RequestBody(request, self._max_body, self._body_timeout)

    async def _upgrade(self, incoming: Incoming, upstream: str, timeout: float, wanted: bytes) -> Written:
        extra = ((b"Connection", b"Upgrade"), (b"Upgrade", wanted))
        asked = self._forwarder.exchange(incoming, upstream, None, extra, timeout, upgrade=True)
        with await asked as answer:
            if answer.tunnel is None:
                return await _pass_on(incoming, answer)
            return await _switch(incoming, answer)


def _upgrade_of(incoming: Incoming) -> bytes | None:
    """The protocols to ask the upstream for; None where the request is taken as an ordinary one."""
    if not incoming.raw._message.upgrade or incoming.has_body or incoming.raw.version < (1, 1):
        return None
    wanted = b", ".join(values(incoming.fields, b"upgrade"))
    tokens = [token.strip().lower() for token in wanted.decode().split(",")]
    return None if any(token.startswith(_OTHER_HTTP) for token in tokens) else wanted


class _UntilGone:
    """Gives up what is done inside when the client's connection is lost: ConnectionResetError."""

    __slots__ = ("_connection", "_gone", "_task")

    def __init__(self, request: web.BaseRequest) -> None:
        self._connection = cast(Connection, request.protocol)
        self._gone = False

    def __enter__(self) -> None:
        self._task = cast("asyncio.Task[object]", asyncio.current_task())
        self._connection.on_lost = self._give_up

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._connection.on_lost = None
        if kind is asyncio.CancelledError and self._gone and not self._task.uncancel():
            raise ConnectionResetError("the client is gone") from None

    def _give_up(self) -> None:
        self._gone = True
        self._task.cancel()


class RequestBody:
    """A client's body on its way to the upstream."""

    def __init__(self, request: web.BaseRequest, limit: int, timeout: float) -> None:
        """``timeout`` bounds the client's pauses (seconds)."""
        self._request = request
        self._left = limit
        self._timeout = timeout

    @property
    def length(self) -> int | None:
        """As the client named it."""
        return self._request.content_length

    async def read(self) -> bytes:
        """What has come; ClientError where it comes too slowly, is too much or not whole."""
        try:
            async with asyncio.timeout(self._timeout):
                chunk: bytes = await self._request.content.readany()
        except TimeoutError as error:
            raise ClientError(
                "body_timeout", "the request body came too slowly", status=408, close=True
            ) from error
        except (ConnectionError, web.RequestPayloadError) as error:
            raise ClientError(
                "bad_request", "the request body ended early or is malformed", close=True
            ) from error
        self._left -= len(chunk)
        if self._left < 0:
            raise _too_large()
        return chunk


def _too_large() -> ClientError:
    return ClientError("body_too_large", "the request body is too large", status=413, close=True)


async def _pass_on(incoming: Incoming, answer: Answer) -> Written:
    """Write the answer as it comes; what breaks after the head ends the connection without a clean end."""
    request = incoming.raw
    fields = checked_fields(answer)
    carries = has_body(request.method, answer.status)
    whole = answer.taken() if answer.whole and carries else None
    length = answer.length if whole is None else len(whole)
    framed = framing(request, answer.status, None if length is None else str(length))
    keep_alive = (framed is not None or not carries) and stays_open(request)
    head = Head(answer.status, fields, framed).encode(request, keep_alive)
    if whole is not None:
        await send(request, head, whole)
        return Written(answer.status, keep_alive)
    await send(request, head)
    try:
        if carries:
            await _pump(request, answer, framed == (b"Transfer-Encoding", b"chunked"))
    except Problem:
        if request.transport is not None:
            request.transport.abort()
        return Written(answer.status, keep_alive=False)
    return Written(answer.status, keep_alive)


async def _pump(request: web.BaseRequest, answer: Answer, chunked: bool) -> None:
    if not chunked and request.transport is not None:
        await pour(answer, request.transport, partial(send, request))
        return
    while chunk := await next_of(answer):
        await send(request, b"%x\r\n" % len(chunk), chunk, b"\r\n")
    await send(request, b"0\r\n\r\n")


async def _switch(incoming: Incoming, answer: Answer) -> Written:
    """Pass on the 101, then bytes both ways until one side ends."""
    client, upstream = cast(Connection, incoming.raw.protocol), answer.tunnel
    assert upstream is not None
    if upstream.transport is None or client.transport is None:
        raise UpstreamError("upstream_invalid", "the upstream closed during the upgrade")
    wanted = b", ".join(values(answer.fields, b"upgrade"))
    fields = [*from_upstream(answer.fields), (b"Connection", b"Upgrade"), (b"Upgrade", wanted)]
    await send(incoming.raw, Head(101, fields, None).encode(incoming.raw, keep_alive=True))
    client.on_lost = None
    await tunnel(client, upstream)
    return Written(101, keep_alive=False)

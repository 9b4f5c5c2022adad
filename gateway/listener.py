"""The public listener's connections: deadlines, the cap, half-closed clients, parse errors.

aiohttp's low-level server has no header deadline and no connection cap, answers parse
errors with its own text and a traceback in the log, and drops a client that shuts down
its sending side before it has its answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import RequestHandler, _ErrInfo

from gateway.answers import Answer
from gateway.errors import ClientError, Problem

MAX_FIELD = 64 * 1024
"""Bytes of one header field: contract-wallet signatures and echoed extensions need kilobytes."""
MAX_FIELDS = 200
MAX_HEADER = 256 * 1024
"""Bytes of one request's header, all fields together."""
LINGER = 2.0
"""Seconds to go on reading what a refused client still sends, so that it sees its answer."""

_TOO_MANY = "Too many headers received"
"""How aiohttp says it; a test pins this."""

Handler = Callable[[web.BaseRequest], Awaitable[Any]]
Render = Callable[[Problem, web.BaseRequest], Answer]


@dataclass(frozen=True, slots=True)
class Limits:
    """What one connection, and all of them together, may take; times in seconds."""

    header_timeout: float
    keepalive_timeout: float
    max_connections: int


class Connection(RequestHandler):
    """One client connection."""

    __slots__ = (
        "_answered",
        "_client_ended",
        "_header_bytes",
        "_header_deadline",
        "_listener",
        "_newest",
        "last_answer",
        "on_ended",
        "on_lost",
    )

    def __init__(self, listener: Listener, **kwargs: Any) -> None:
        super().__init__(listener, **kwargs)
        self._listener = listener
        self._answered = 0
        self._client_ended = asyncio.Event()
        self._header_deadline: asyncio.TimerHandle | None = None
        self._header_bytes = 0
        self._newest: StreamReader = EMPTY_PAYLOAD
        """The body of the request received last."""
        self.last_answer = False
        """Whether nothing follows what has been received so far."""
        self.on_lost: Callable[[], None] | None = None
        """Called once when the client's connection is lost while its request is worked on."""
        self.on_ended: Callable[[], None] | None = None
        """Called when the client ends its side, or its connection is lost, while its request is worked on."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Accept, or turn away at once above the cap."""
        if len(self._listener._connections) >= self._listener.limits.max_connections:
            cast(asyncio.Transport, transport).abort()
            return
        super().connection_made(transport)
        self._await_header()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Stop every clock of this connection."""
        self._header_arrived()
        self._client_ended.set()
        if self.on_lost is not None:
            self.on_lost()
        if self.on_ended is not None:
            self.on_ended()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Give a request's header ``header_timeout`` from its first byte, and no more than ``MAX_HEADER``."""
        if self._awaits_header():
            self._header_bytes += len(data)
            if self._header_deadline is None and self._idle():
                self._await_header()
        seen = self._request_count
        super().data_received(data)
        if self._request_count != seen:
            self._fail_broken_body()
            self._header_arrived()
            self._newest = self._messages[-1][1] if self._messages else self._newest
        elif self._header_bytes > MAX_HEADER:
            self._refuse_header()

    def eof_received(self) -> bool:  # type: ignore[override]
        """Keep a half-closed connection until what it asked for is answered."""
        self.last_answer = True
        self._client_ended.set()
        if self.on_ended is not None:
            self.on_ended()
        if self._payload_parser is not None:
            self._payload_parser.feed_eof()
        request = self._current_request
        if request is not None and not request._payload.is_eof():
            request._cancel(ConnectionResetError("the client ended its request early"))
        return self._owes()

    @property
    def client_ended(self) -> bool:
        """Whether the client has ended its side: it may have gone altogether."""
        return self._client_ended.is_set()

    @property
    def ending(self) -> bool:
        """Whether the request being answered is the last one on this connection."""
        return self.last_answer and not self._messages

    async def finish_response(self, *args: Any) -> tuple[web.StreamResponse, bool]:
        """Write the answer; take no further request where the client or we have said so meanwhile."""
        response, gone = await super().finish_response(*args)
        self.on_ended = None
        self._answered += 1
        if self._messages:
            # aiohttp has read on here, behind an upgrade that was declined.
            self._newest = self._messages[-1][1]
        if self.last_answer and not self._owes():
            self._close = True
        if not response.keep_alive:
            await self._linger()
        return response, gone

    def handle_error(  # type: ignore[override]
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> Answer:
        """Answer what could not be parsed, or what our own handler did not foresee."""
        if status >= 500:
            self.log_exception("unhandled error in a request", exc_info=exc)
            return self._listener.render(Problem("internal_error", "the gateway failed", close=True), request)
        too_large = isinstance(exc, LineTooLong) or message == _TOO_MANY
        problem = ClientError(
            "headers_too_large" if too_large else "bad_request",
            "the header is too large" if too_large else "the bytes received are not a valid HTTP/1.1 request",
            status=431 if too_large else 400,
            close=True,
        )
        return self._listener.render(problem, request)

    def retire(self) -> None:
        """Take no further request: close when idle, after the running answer otherwise."""
        self.last_answer = True
        if self._idle():
            self.force_close()
        elif not self._owes():
            self._close = True

    async def _linger(self) -> None:
        """Say that nothing follows, and read for a moment what the client still sends.

        Closing at once would reset the connection under those bytes, and the answer with it.
        """
        self._close = True
        if self.transport is None or self.transport.is_closing() or self._client_ended.is_set():
            return
        self.transport.write_eof()
        self.resume_reading(resume_parser=False)
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER):
                await self._client_ended.wait()

    def _owes(self) -> bool:
        """Whether a request that was received is not answered yet."""
        return self._request_count > self._answered

    def _idle(self) -> bool:
        """Between requests, and no longer reading what a refused request still sends."""
        if self._messages:
            return False
        return self._request_count == 0 or (self._waiter is not None and not self._waiter.done())

    def _awaits_header(self) -> bool:
        """Whether the next byte belongs to a header: every body is complete, nothing was upgraded."""
        if self._upgraded or self._payload_parser is not None:
            return False
        return self._newest.is_eof()

    def _fail_broken_body(self) -> None:
        """Let the request whose body turned malformed know; aiohttp makes it a request of its own."""
        if not isinstance(self._messages[-1][0], _ErrInfo):
            return
        if not self._newest.is_eof():
            self._messages.pop()
            self._request_count -= 1
            self._newest.set_exception(web.RequestPayloadError("malformed body"))

    def _refuse_header(self) -> None:
        error = _ErrInfo(status=431, exc=LineTooLong(b"header", MAX_HEADER), message="")
        self._messages.append((error, EMPTY_PAYLOAD))
        self._request_count += 1
        self._header_arrived()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _await_header(self) -> None:
        self._header_deadline = self._loop.call_later(self._listener.limits.header_timeout, self._header_late)

    def _header_arrived(self) -> None:
        self._header_bytes = 0
        if self._header_deadline is not None:
            self._header_deadline.cancel()
            self._header_deadline = None

    def _header_late(self) -> None:
        self._header_deadline = None
        self.force_close()


class Listener(web.Server):
    """Makes a :class:`Connection` for every client."""

    def __init__(self, handler: Handler, render: Render, limits: Limits) -> None:
        super().__init__(handler, handler_cancellation=False)
        self.render = render
        self.limits = limits

    def retire(self) -> None:
        """Let every connection end after what it is working on."""
        for connection in self.connections:
            cast(Connection, connection).retire()

    def __call__(self) -> Connection:
        return Connection(
            self,
            loop=self._loop,
            keepalive_timeout=self.limits.keepalive_timeout,
            max_line_size=MAX_FIELD,
            max_field_size=MAX_FIELD,
            max_headers=MAX_FIELDS,
            lingering_time=0,
            auto_decompress=False,
            access_log=None,
        )

"""What comes in on a client's connection: a header's deadline and size, half-closed clients, broken bodies.

aiohttp's protocol has no header deadline, and drops a client that shuts down its sending side before it
has its answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import RequestHandler, _ErrInfo

MAX_FIELD = 64 * 1024
"""Bytes of one header field: contract-wallet signatures and echoed extensions need kilobytes."""
MAX_FIELDS = 200
MAX_HEADER = 256 * 1024
"""Bytes of one request's header, all fields together."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one connection, and all of them together, may take; times in seconds."""

    header_timeout: float
    keepalive_timeout: float
    max_connections: int


class Receiving(RequestHandler):
    """The receiving side of one client connection; answering is its subclass's."""

    __slots__ = (
        "_answered",
        "_between",
        "_client_ended",
        "_header_bytes",
        "_header_deadline",
        "_limits",
        "_newest",
        "last_answer",
        "on_ended",
        "on_lost",
    )

    def __init__(self, manager: web.Server, limits: Limits, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(
            manager,
            loop=loop,
            keepalive_timeout=limits.keepalive_timeout,
            max_line_size=MAX_FIELD,
            max_field_size=MAX_FIELD,
            max_headers=MAX_FIELDS,
            lingering_time=0,
            auto_decompress=False,
            access_log=cast(Any, None),
        )
        self._limits = limits
        self._answered = 0
        self._between = True
        """Whether it is known that the next byte is the first one of a request."""
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
        """The first header's clock runs from now."""
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
        fresh = self._between and self._can_answer_now()
        if fresh and self._answered_again(data):
            return
        awaited = self._awaits_header()
        seen = self._request_count
        # Whoever waits for a request is told below: it may be answered by then.
        waiter, self._waiter = self._waiter, None
        super().data_received(data)
        self._waiter = waiter
        self._between = self._request_count != seen and self._ends_a_request(data)
        if self._request_count != seen:
            self._fail_broken_body()
            self._header_arrived()
            self._newest = self._messages[-1][1] if self._messages else self._newest
            self._received(data if fresh and self._between else b"")
        elif awaited:
            self._header_goes_on(len(data))

    def _answered_again(self, data: bytes) -> bool:
        """Whether what begins here was answered without being read."""
        raise NotImplementedError

    def _received(self, data: bytes) -> None:
        """Requests came; ``data`` is all that came, where that is one request and nothing else."""
        raise NotImplementedError

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

    def _ends_a_request(self, data: bytes) -> bool:
        """Whether a request without a body ended with these bytes, and nothing of another one followed."""
        whole = data.endswith(b"\r\n\r\n") and bool(self._messages)
        return whole and self._messages[-1][1] is EMPTY_PAYLOAD

    def _can_answer_now(self) -> bool:
        """Whether an answer may be written the moment its request is here."""
        waits = self._waiter is not None and not self._waiter.done() and not self._messages
        return waits and not (self.writing_paused or self._upgraded or self.last_answer or self._close)

    def _fail_broken_body(self) -> None:
        """Let the request whose body turned malformed know; aiohttp makes it a request of its own."""
        if not isinstance(self._messages[-1][0], _ErrInfo):
            return
        if not self._newest.is_eof():
            self._messages.pop()
            self._request_count -= 1
            self._newest.set_exception(web.RequestPayloadError("malformed body"))

    def _header_goes_on(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > MAX_HEADER:
            self._refuse_header()
        elif self._header_deadline is None and self._idle():
            self._await_header()

    def _refuse_header(self) -> None:
        error = _ErrInfo(status=431, exc=LineTooLong(b"header", MAX_HEADER), message="")
        self._messages.append((error, EMPTY_PAYLOAD))
        self._request_count += 1
        self._header_arrived()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _await_header(self) -> None:
        self._header_deadline = self._loop.call_later(self._limits.header_timeout, self._header_late)

    def _header_arrived(self) -> None:
        self._header_bytes = 0
        if self._header_deadline is not None:
            self._header_deadline.cancel()
            self._header_deadline = None

    def _header_late(self) -> None:
        self._header_deadline = None
        self.force_close()

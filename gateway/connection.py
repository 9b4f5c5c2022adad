"""One client connection: one request answered after the other, at once where nothing is waited for.

aiohttp's protocol starts a task for each request, and answers parse errors with its own text and a
traceback in the log.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.http_writer import StreamWriter
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import ERROR, _ErrInfo

from gateway.answers import Answer, stays_open
from gateway.errors import ClientError, Problem
from gateway.receiving import Receiving

if TYPE_CHECKING:
    from gateway.listener import Listener

LINGER = 2.0
"""Seconds to go on reading what a refused client still sends, so that it sees its answer."""

_TOO_MANY = "Too many headers received"
"""How aiohttp says it; a test pins this."""


class Connection(Receiving):
    """One client connection."""

    __slots__ = ("_begun", "_listener")

    def __init__(self, listener: Listener, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(listener, listener.limits, loop)
        self._listener = listener
        self._begun: tuple[web.BaseRequest, Any] | None = None
        """What was begun of the request that is next."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Accept, or turn away at once above the cap."""
        if len(self._listener._connections) >= self._limits.max_connections:
            cast(asyncio.Transport, transport).abort()
            return
        super().connection_made(transport)

    def _answered_again(self, data: bytes) -> bool:
        """Whether this very request was answered a moment ago, and now again."""
        shelf = self._listener.shelf
        answer = None if shelf is None else shelf.again(data)
        if answer is None or self.transport is None:
            return False
        self._header_arrived()
        self._request_count += 1
        self._wrote(answer)
        return True

    def _received(self, data: bytes) -> None:
        """Answer what came at once where that is possible, else wake who waits for it.

        ``data``: all of what came, where it is one request.
        """
        waiter = self._waiter
        if waiter is None or waiter.done() or not self._messages:
            return
        message, payload = self._messages[0]
        whole = len(self._messages) == 1 and payload is EMPTY_PAYLOAD and not isinstance(message, _ErrInfo)
        if not (data and whole) or self._upgraded:
            waiter.set_result(None)
            return
        request = self._request(message, payload)
        begun = self._started(request)
        if not isinstance(begun, Answer) or not self._write_now(request, begun, data):
            self._begun = request, begun
            waiter.set_result(None)

    def _write_now(self, request: web.BaseRequest, answer: Answer, data: bytes) -> bool:
        """Whether the answer is on its way and the connection ready for another request."""
        if not (answer.keep_alive and stays_open(request)) or self.transport is None:
            return False
        self._messages.clear()
        self._make_room()
        encoded = answer.encode(request)
        if answer.about is not None and self._listener.shelf is not None and request.version == (1, 1):
            self._listener.shelf.put(data, encoded, answer.about)
        self._wrote(encoded)
        return True

    def _wrote(self, answer: bytes) -> None:
        assert self.transport is not None
        self.transport.write(answer)
        self._answered += 1
        self._keep_alive_from_now()

    async def start(self) -> None:
        """Answer one request after the other, in this task: aiohttp starts another one for each."""
        try:
            going_on = True
            while going_on and not (self._force_close or self._close):
                if not self._messages:
                    await self._next()
                message, payload = self._messages.popleft()
                self._make_room()
                going_on = await self._serve(message, payload)
                self._keep_alive_from_now()
        except asyncio.CancelledError:
            self.force_close()
            raise
        finally:
            self._task_handler = None
            if self.transport is not None:
                self.transport.close()

    async def _next(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _make_room(self) -> None:
        """Read on, where reading was stopped because too many requests waited."""
        if self._parser is not None:
            self._parser.message_consumed()
        if self._buffer_paused and len(self._messages) <= self._msg_queue_resume_size:
            self._resume_reading_if_drained()

    async def _serve(self, message: Any, payload: StreamReader) -> bool:
        """Answer one request; whether another may follow on this connection."""
        self._request_in_progress = True
        try:
            request, begun = self._begun or (self._request(message, payload), None)
            self._begun, self._current_request = None, request
            answer = await self._answer(request, message, begun)
            self._current_request = None
            return await self._finish(request, payload, answer)
        finally:
            self._current_request, self._request_in_progress = None, False
            if self._handler_waiter is not None:
                self._handler_waiter.set_result(None)

    def _request(self, message: Any, payload: StreamReader) -> web.BaseRequest:
        """No writer and no task: answers go to the transport, and all requests share one task."""
        read = ERROR if isinstance(message, _ErrInfo) else message
        return web.BaseRequest(read, payload, self, cast(Any, None), cast(Any, None), self._loop)

    async def _answer(self, request: web.BaseRequest, message: Any, begun: Any) -> Any:
        if isinstance(message, _ErrInfo):
            return self.handle_error(request, message.status, message.exc, message.message)
        begun = begun or self._started(request)
        if isinstance(begun, Answer):
            return begun
        try:
            return await self._listener.request_handler(begun)
        except Exception as error:  # noqa: BLE001 - the border: whatever it is, its client gets a 500
            return self.handle_error(request, 500, error)

    def _started(self, request: web.BaseRequest) -> Any:
        try:
            return self._listener.begin(request)
        except Exception as error:  # noqa: BLE001 - as above
            return self.handle_error(request, 500, error)

    async def _finish(self, request: web.BaseRequest, payload: StreamReader, answer: Any) -> bool:
        """Write the answer; take no further request where the client or we have said so meanwhile."""
        there = await self._write(request, answer)
        self.on_ended = None
        self._answered += 1
        if self.last_answer and not self._owes():
            self._close = True
        if not answer.keep_alive:
            await self._linger()
        if not payload.is_eof():
            self._close = True
            payload.set_exception(ConnectionResetError("the request is answered"))
        return there and bool(answer.keep_alive)

    async def _write(self, request: web.BaseRequest, answer: Any) -> bool:
        if self._upgraded:
            # Behind an upgrade that was declined aiohttp has to be told to read on.
            _, gone = await self.finish_response(request, answer, None)
            self._newest = self._messages[-1][1] if self._messages else self._newest
            return not gone
        try:
            if isinstance(answer, web.StreamResponse):
                request._payload_writer = StreamWriter(self, self._loop)
            await answer.prepare(request)
            await answer.write_eof()
        except ConnectionError:
            return False
        return True

    def _keep_alive_from_now(self) -> None:
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        if self._keepalive_handle is None:
            self._keepalive_handle = self._loop.call_at(
                self._next_keepalive_close_time, self._process_keepalive
            )

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

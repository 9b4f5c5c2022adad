"""One connection to an origin: one answer for each request, and no byte beyond it.

A byte that comes out of turn, or an exchange that does not end in order, ends the connection: what it
says can never be taken for the answer to somebody else's request.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import cast

from facilitator.http1.answer import READ_AHEAD, Answer
from facilitator.http1.clock import Clock
from facilitator.http1.errors import HttpError, Invalid, TimedOut
from facilitator.http1.reader import Reader
from facilitator.http1.request import Body
from facilitator.http1.upload import upload

_ONE_WRITE = 64 * 1024
"""Bytes of content up to which copying it behind its head is cheaper than a second buffer."""


class Connection(asyncio.Protocol):
    """Idle, or with one exchange, or after a 101 a tunnel."""

    __slots__ = (
        "_answer",
        "_clock",
        "_drained",
        "_ended",
        "_feed",
        "_free",
        "_loop",
        "_lost",
        "_patience",
        "_paused",
        "_reader",
        "_transport",
        "_unsent",
        "_until",
        "_writing",
        "idle_since",
    )

    def __init__(self, free: Callable[[Connection], None], lost: Callable[[Connection], None]) -> None:
        """``free`` is called when another request can be sent, ``lost`` once when none can any more."""
        self._loop = asyncio.get_running_loop()
        self._free = free
        self._lost = lost
        self._reader = Reader()
        self._answer: Answer | None = None
        self._transport: asyncio.Transport | None = None
        self._writing: asyncio.Task[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._paused = False
        self._clock = Clock(self._loop, self._late)
        self._patience = self._until = math.inf
        self._unsent = 0
        self._feed: Callable[[bytes], None] | None = None
        self._ended: Callable[[], None] | None = None
        self.idle_since = 0.0

    # Exchanges

    def ask(
        self,
        head: bytes,
        body: Body,
        *,
        bare: bool,
        upgrade: bool,
        patience: float | None,
        until: float | None,
    ) -> Answer:
        """Send a request. ``patience`` bounds silence (seconds), ``until`` the whole answer (loop time)."""
        assert self._answer is None and self._transport is not None
        answer = self._answer = Answer(self, self._loop)
        self._reader.expect(answer, bare=bare, upgrade=upgrade)
        self._patience = math.inf if patience is None else patience
        self._until = math.inf if until is None else until
        self._unsent = 0
        if body is None or isinstance(body, bytes):
            if body and len(body) > _ONE_WRITE:
                self._transport.writelines((head, body))
            else:
                self._transport.write(head + body if body else head)
            self._heard()
        else:
            self._transport.write(head)
            self._clock.move(self._until)
            self._writing = self._loop.create_task(upload(self, body, patience))
            self._writing.add_done_callback(self._written)
        return answer

    @property
    def usable(self) -> bool:
        """Whether a request can be sent."""
        return self._answer is None and self._transport is not None and not self._transport.is_closing()

    def pause(self) -> None:
        """The reader of the answer has enough for now."""
        if self._transport is not None and not self._paused and not self._transport.is_closing():
            self._paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """The reader of the answer wants more."""
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
            if self._answer is not None:
                self._heard()

    def close(self) -> None:
        """End the connection, and the exchange on it."""
        self._fail(Invalid("given up"))

    # Tunnels

    def attach(self, feed: Callable[[bytes], None], ended: Callable[[], None]) -> None:
        """After a 101: have ``feed`` called with what comes, and ``ended`` at the end."""
        self._feed, self._ended = feed, ended
        if self._transport is None:
            ended()
            return
        if self._reader.surplus:
            feed(self._reader.surplus)
        self.resume()

    @property
    def transport(self) -> asyncio.Transport | None:
        """None once it is lost."""
        return self._transport

    async def drained(self) -> None:
        """Wait while the origin takes no more; ConnectionResetError where it never will."""
        if self._transport is None:
            raise ConnectionResetError("the origin is gone")
        if self._drained is not None:
            await asyncio.shield(self._drained)

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        answer = self._answer
        if answer is None:
            if self._feed is None:
                self.close()
            else:
                self._feed(data)
            return
        try:
            whole = self._reader.feed(data)
        except Invalid as error:
            self._fail(error)
            return
        if whole:
            self._finish(answer)
            return
        self._heard()
        if answer.size > READ_AHEAD:
            self.pause()

    def eof_received(self) -> None:
        self._end()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._drained is not None and not self._drained.done():
            self._drained.set_exception(ConnectionResetError("the origin is gone"))
            self._drained.exception()
        self._end(reset=exc is not None)
        if self._writing is not None:
            self._writing.cancel()
        self._reader.forget()
        self._clock.stop()
        self._lost(self)
        if self._ended is not None:
            self._ended()

    def pause_writing(self) -> None:
        self._drained = self._loop.create_future()

    def resume_writing(self) -> None:
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        self._drained = None

    # Ends

    def _end(self, *, reset: bool = False) -> None:
        """The origin says no more."""
        if self._answer is None:
            return
        try:
            self._reader.ended(reset=reset)
        except HttpError as error:
            self._fail(error)
        else:
            self._finish(self._answer)

    def _finish(self, answer: Answer) -> None:
        self._answer = None
        self._clock.deadline = math.inf
        if answer.status == 101:
            self.pause()
            answer.tunnel = self
        answer.end()
        if answer.tunnel is not None:
            return
        assert self._transport is not None
        sent = self._writing is None and not self._transport.get_write_buffer_size()
        if not (sent and self._reader.reusable) or self._transport.is_closing():
            self._fail(Invalid("over"))
            return
        self.resume()
        self.idle_since = self._loop.time()
        self._free(self)

    def _fail(self, error: Exception) -> None:
        answer, self._answer = self._answer, None
        if answer is not None:
            answer.end(error)
        if self._writing is not None:
            self._writing.cancel()
        if self._transport is not None:
            self._transport.abort()

    # Time

    def _heard(self) -> None:
        """Silence begins anew."""
        self._clock.move(min(self._loop.time() + self._patience, self._until))

    def _late(self) -> None:
        if self._answer is None:
            return
        if self._loop.time() >= self._until:
            self._fail(TimedOut("not whole in time"))
        elif self._paused or self._writing is not None or self._moves():
            self._heard()
        else:
            self._fail(TimedOut("silent"))

    def _moves(self) -> bool:
        """Whether the origin, silent, took of the request since it was last looked at."""
        before = self._unsent
        self._unsent = self._transport.get_write_buffer_size() if self._transport is not None else 0
        return self._unsent not in (0, before)

    def _written(self, task: asyncio.Task[None]) -> None:
        self._writing = None
        if task.cancelled():
            return
        error = task.exception()
        if isinstance(error, Exception):
            self._fail(error)
        elif self._answer is not None:
            self._heard()

"""A paid answer passed on as it comes, its last bytes only once what it means for the money is recorded."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from facilitator.crashpoints import reach
from facilitator.http1.answer import Answer
from gateway.accept import Incoming
from gateway.answers import Head, drained, framing, has_body, send, stays_open
from gateway.budget import Hold
from gateway.errors import Problem, UpstreamError
from gateway.forward import Fetched, next_of
from gateway.headers import Field
from gateway.leases import Kept
from gateway.outcomes import in_progress
from gateway.rails.base import Measure

Commit = Callable[[Fetched | None, bool], Awaitable[None]]
"""Records the end: the whole answer where it was small enough to keep, and whether the client is there."""

CHUNKED = (b"Transfer-Encoding", b"chunked")


class Broken(Exception):
    """The answer had begun and could not be ended in order; the connection is closed."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


class Tee:
    """A copy of what passes, as long as it is at most ``most`` bytes and memory allows."""

    def __init__(self, most: int, hold: Hold) -> None:
        self._most = most
        self._hold = hold
        self._size = 0
        self._chunks: list[bytes] | None = []

    def add(self, chunk: bytes) -> None:
        """One more piece."""
        self._size += len(chunk)
        if self._chunks is None:
            return
        if self._size > self._most or not self._hold.fits(len(chunk)):
            self._chunks = None
            return
        self._hold.add(len(chunk))
        self._chunks.append(chunk)

    def spoil(self) -> None:
        """What passed is not the whole."""
        self._chunks = None

    @property
    def content(self) -> bytes | None:
        """Everything, or None where it was too much."""
        return None if self._chunks is None else b"".join(self._chunks)


class PaidStream:
    """One answer on its way. A client that leaves does not stop what is recorded about it."""

    def __init__(
        self,
        incoming: Incoming,
        answer: Answer,
        upstreams: Sequence[Field],
        fields: Sequence[Field],
        tee: Tee,
        measure: Measure,
        patience: float,
        deadline: float | None,
        kept: Kept,
    ) -> None:
        """``upstreams`` fields are kept, ``fields`` are sent; ``patience`` (seconds) bounds what is still
        read for a client that left, ``deadline`` (loop time) the whole answer, None where it is
        paid for already; ``kept`` is its lease."""
        self._request = incoming.raw
        self._answer = answer
        self._upstreams = tuple(upstreams)
        # Of an answer the upstream was asked for in other words, not everything is the client's.
        self._length = answer.length if measure.body is None else None
        self._framing = framing(
            self._request, answer.status, None if self._length is None else str(self._length)
        )
        self._head = Head(answer.status, fields, self._framing)
        self._tee = tee
        self._measure = measure
        self._patience = patience
        self._deadline = deadline
        self._paid = deadline is None
        self._kept = kept
        self._carries = has_body(self._request.method, answer.status)
        self._begun = False
        self._there = True

    async def run(self, commit: Commit) -> bool:
        """Whether the client took all of it. Problem where nothing was sent yet, Broken otherwise."""
        try:
            last = await self._pass_on()
            await commit(self._fetched(), self._there)
            await self._write(*last)
        except Problem as problem:
            if not self._begun:
                raise
            self._abort()
            raise Broken(problem) from problem
        return await self._taken()

    @property
    def status(self) -> int:
        """The upstream's."""
        return self._answer.status

    @property
    def keep_alive(self) -> bool:
        """Whether the client's connection can carry another request."""
        ends = self._framing is not None or not self._carries
        return ends and stays_open(self._request)

    async def _pass_on(self) -> list[bytes]:
        """Send everything but what makes the answer complete; that is returned."""
        pending = [self._head.encode(self._request, self.keep_alive)]
        if not self._carries:
            return pending
        chunked = self._framing == CHUNKED
        if chunked:
            await self._send(*pending)
            pending = []
        missing = self._length or -1
        while (chunk := await self._next()) is not None:
            passed = self._measure.feed(chunk)
            self._tee.add(passed)
            missing -= len(passed)
            pending += _framed(passed, chunked)
            if missing:
                await self._send(*pending)
                pending = []
                reach("K10")
        withheld = self._measure.end()
        self._tee.add(withheld)
        pending += _framed(withheld, chunked)
        return [*pending, b"0\r\n\r\n"] if chunked else pending

    async def _next(self) -> bytes | None:
        """None at the end, and where it is not worth reading on for a client that left: what is sold as a
        whole and not paid yet must be whole to be paid."""
        enough = self._paid or self._measure.by_part
        if enough and not self._there and self._tee.content is None:
            return None
        try:
            async with asyncio.timeout_at(self._deadline):
                return await next_of(self._answer) or None
        except TimeoutError as error:
            if self._there:
                raise UpstreamError(
                    "upstream_timeout", "the answer took longer than its payment is good for", status=504
                ) from error
            self._tee.spoil()
            return None

    async def _send(self, *parts: bytes) -> None:
        """Before the end is recorded: no fence guards what leaves, and this process may have slept."""
        if self._kept.doubtful:
            raise in_progress()
        await self._write(*parts)

    async def _write(self, *parts: bytes) -> None:
        if not self._there or not parts:
            return
        self._begun = True
        try:
            await send(self._request, *parts)
        except ConnectionResetError:
            self._there = False
            left_until = asyncio.get_running_loop().time() + self._patience
            self._deadline = min(self._deadline or left_until, left_until)

    async def _taken(self) -> bool:
        if not self._there:
            return False
        try:
            await drained(self._request)
        except ConnectionResetError:
            return False
        reach("K11")
        return True

    def _fetched(self) -> Fetched | None:
        content = self._tee.content
        if content is None:
            return None
        return Fetched(self._answer.status, self._upstreams, content, self._length)

    def _abort(self) -> None:
        if self._request.transport is not None:
            self._request.transport.abort()


def _framed(content: bytes, chunked: bool) -> list[bytes]:
    if not content:
        return []
    return [b"%x\r\n" % len(content), content, b"\r\n"] if chunked else [content]

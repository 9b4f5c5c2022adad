"""Forwarding: one request out, one answer in, and every upstream fault translated here."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from facilitator.crashpoints import reach
from facilitator.http1.answer import Answer
from facilitator.http1.errors import HttpError, TimedOut, Unreachable, Unsendable
from facilitator.http1.pool import Pool
from facilitator.http1.request import Body, encode
from gateway import headers
from gateway.accept import Incoming
from gateway.budget import Hold
from gateway.errors import ClientError, UpstreamError
from gateway.headers import Field
from gateway.settings import Upstream
from gateway.way import Way

_BODY_METHODS = frozenset({"POST", "PUT", "PATCH"})


@dataclass(frozen=True, slots=True)
class Fetched:
    """An upstream's whole answer, checked to be emittable."""

    status: int
    fields: tuple[Field, ...]
    body: bytes
    length: int | None
    """The Content-Length the upstream named, for answers without a body (HEAD)."""


class Forwarder:
    """Sends requests to the configured upstreams over kept-alive connections."""

    def __init__(self, upstreams: Mapping[str, Upstream], pseudonym: str, max_answer: int) -> None:
        self._pseudonym = pseudonym
        self._max_answer = max_answer
        self._pool = Pool()
        self.replace(upstreams)

    def replace(self, upstreams: Mapping[str, Upstream]) -> None:
        """Use another set of upstreams for requests to come."""
        self._ways = {name: Way(each, self._pseudonym, self._pool) for name, each in upstreams.items()}

    def close(self) -> None:
        """Close every upstream connection."""
        self._pool.close()

    async def fetch(
        self,
        incoming: Incoming,
        upstream: str,
        body: bytes,
        extra: Sequence[Field],
        timeout: float,
        hold: Hold,
    ) -> Fetched:
        """Forward and hold the whole answer; ``timeout`` (seconds) covers all of it.

        UpstreamError ``upstream_unreachable``, ``upstream_timeout``, ``upstream_invalid`` or
        ``answer_too_large``: nothing of the answer was passed on.
        """
        until = asyncio.get_running_loop().time() + timeout
        with await self.exchange(incoming, upstream, body, extra, None, until) as answer:
            reach("K4")
            return await self.hold_back(answer, checked_fields(answer), hold)

    async def hold_back(self, answer: Answer, fields: Sequence[Field], hold: Hold) -> Fetched:
        """The rest of an answer that has begun, whole; UpstreamError as ``fetch``."""
        content = await self._read(answer, hold)
        return Fetched(answer.status, tuple(fields), content, answer.length)

    async def _read(self, answer: Answer, hold: Hold) -> bytes:
        chunks: list[bytes] = []
        size = 0
        while chunk := await next_of(answer):
            size += len(chunk)
            if size > self._max_answer:
                raise UpstreamError(
                    "answer_too_large", "the upstream's answer is larger than can be held back"
                )
            hold.add(len(chunk))
            chunks.append(chunk)
        return b"".join(chunks)

    async def exchange(
        self,
        incoming: Incoming,
        upstream: str,
        body: Body,
        extra: Sequence[Field],
        idle: float | None,
        until: float | None = None,
        *,
        upgrade: bool = False,
    ) -> Answer:
        """Send one request to ``upstream``; its answer has begun, and must be closed.

        ``idle`` bounds silence (seconds), ``until`` all of it (loop time). ``upgrade``: a 101 is asked for.
        """
        way = self._ways[upstream]
        if not body and incoming.method not in _BODY_METHODS and isinstance(body, bytes):
            body = None
        try:
            head = encode(incoming.method, way.target(incoming), way.block(incoming, extra), body)
        except Unsendable as error:
            raise ClientError("bad_request", str(error)) from error
        bare = incoming.method == "HEAD"
        try:
            return await way.peer.ask(
                head, body, bare=bare, upgrade=upgrade, connect=way.connect, patience=idle, until=until
            )
        except HttpError as error:
            raise _problem(error) from error


def checked_fields(answer: Answer) -> list[Field]:
    """The answer's fields for the client; UpstreamError where its status means nothing.

    That they can be emitted is known: nothing else is read from an upstream.
    """
    if not 200 <= answer.status <= 599:
        raise UpstreamError("upstream_invalid", "the upstream's answer is broken")
    return headers.from_upstream(answer.fields)


async def next_of(answer: Answer) -> bytes:
    """The answer's content as it comes, ``b""`` at its end; UpstreamError where that is not as announced."""
    try:
        return await answer.read()
    except HttpError as error:
        raise _problem(error) from error


async def pour(answer: Answer, sink: asyncio.Transport, send: Callable[[bytes], Awaitable[None]]) -> None:
    """The rest of the answer's content to ``sink``; see ``Answer.pour``. UpstreamError as ``next_of``."""
    try:
        await answer.pour(sink, send)
    except HttpError as error:
        raise _problem(error) from error


def _problem(error: HttpError) -> UpstreamError:
    if isinstance(error, Unreachable):
        return UpstreamError("upstream_unreachable", "the upstream cannot be reached")
    if isinstance(error, TimedOut):
        return UpstreamError("upstream_timeout", "the upstream did not answer in time", status=504)
    return UpstreamError("upstream_invalid", "the upstream's answer is broken")

"""Whole exchanges with services that are trusted with little: bounded in time, in size and in number."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from facilitator.http1.answer import Answer
from facilitator.http1.errors import TimedOut, TooLarge
from facilitator.http1.origin import Origin
from facilitator.http1.pool import Peer, Pool
from facilitator.http1.request import Field, begun, ended, lines

_PLAIN = "!#$%&'()*+,/:;=?@[]~"
"""What stays as it is in a URL, besides letters, digits, ``-._``."""


@dataclass(frozen=True, slots=True)
class Content:
    """A whole answer."""

    status: int
    fields: Sequence[Field]
    content: bytes


class _Place:
    """Where a URL leads, and what was asked there last: most of a head is the same every time."""

    __slots__ = ("_asked", "_head", "_target", "peer")

    def __init__(self, peer: Peer, target: str) -> None:
        self.peer = peer
        self._target = target
        self._asked: tuple[str, str, Mapping[str, str]] | None = None
        self._head = b""

    def head(self, method: str, query: str, fields: Mapping[str, str]) -> bytes:
        """A request's head as it is ``begun``."""
        if self._asked != (method, query, fields):
            host = (b"Host", self.peer.origin.authority.encode())
            block = lines([host, *((name.encode(), value.encode()) for name, value in fields.items())])
            target = f"{self._target}?{query}" if query else self._target
            self._head = begun(method, target, block)
            self._asked = method, query, dict(fields)
        return self._head


class Client(AbstractContextManager["Client"]):
    """Connections to a few known URLs, at most ``connections`` at once."""

    def __init__(self, connections: int = 64) -> None:
        self._pool = Pool()
        self._room = asyncio.Semaphore(connections)
        self._places: dict[str, _Place] = {}

    def __exit__(self, *args: object) -> None:
        self.close()

    def close(self) -> None:
        """End every connection."""
        self._pool.close()

    async def fetch(
        self,
        method: str,
        url: str,
        body: bytes | None = None,
        fields: Mapping[str, str] | None = None,
        *,
        until: float,
        most: int,
        query: str = "",
    ) -> Content:
        """Ask once, and read the answer whole; HttpError where none of at most ``most`` bytes is whole by
        ``until`` (loop time). What changes from call to call belongs into ``query``, not into ``url``."""
        place = self._places.get(url) or self._find(url)
        head = ended(place.head(method, query, fields or {}), body)
        if self._room.locked():
            await self._turn(until)
        else:
            await self._room.acquire()
        try:
            with await place.peer.ask(head, body, until=until) as answer:
                return Content(answer.status, answer.fields, await _whole(answer, most))
        finally:
            self._room.release()

    async def _turn(self, until: float) -> None:
        try:
            async with asyncio.timeout_at(until):
                await self._room.acquire()
        except TimeoutError as error:
            raise TimedOut("too many exchanges at once") from error

    def _find(self, url: str) -> _Place:
        parts = urlsplit(url)
        target = quote(parts.path or "/", _PLAIN) + (f"?{quote(parts.query, _PLAIN)}" if parts.query else "")
        place = self._places[url] = _Place(self._pool.to(Origin.of(url)), target)
        return place


async def _whole(answer: Answer, most: int) -> bytes:
    if answer.whole and answer.size <= most:
        return answer.taken()
    content = bytearray()
    while chunk := await answer.read():
        content += chunk
        if len(content) > most:
            raise TooLarge(f"an answer above {most} bytes")
    return bytes(content)

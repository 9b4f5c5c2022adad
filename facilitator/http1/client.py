"""Whole exchanges with services that are trusted with little: bounded in time, in size and in number."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from facilitator.http1.errors import TimedOut, TooLarge
from facilitator.http1.origin import Origin
from facilitator.http1.pool import Peer, Pool
from facilitator.http1.request import Field, encode, lines

_PLAIN = "!#$%&'()*+,/:;=?@[]~"
"""What stays as it is in a URL, besides letters, digits, ``-._``."""


@dataclass(frozen=True, slots=True)
class Content:
    """A whole answer."""

    status: int
    fields: Sequence[Field]
    content: bytes


@dataclass(frozen=True, slots=True)
class _Place:
    peer: Peer
    target: str


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
        host = (b"Host", place.peer.origin.authority.encode())
        more = [(name.encode(), value.encode()) for name, value in (fields or {}).items()]
        target = f"{place.target}?{query}" if query else place.target
        head = encode(method, target, lines([host, *more]), body)
        try:
            async with asyncio.timeout_at(until):
                await self._room.acquire()
        except TimeoutError as error:
            raise TimedOut("too many exchanges at once") from error
        try:
            with await place.peer.ask(head, body, until=until) as answer:
                content = bytearray()
                while chunk := await answer.read():
                    content += chunk
                    if len(content) > most:
                        raise TooLarge(f"an answer above {most} bytes")
                return Content(answer.status, answer.fields, bytes(content))
        finally:
            self._room.release()

    def _find(self, url: str) -> _Place:
        parts = urlsplit(url)
        target = quote(parts.path or "/", _PLAIN) + (f"?{quote(parts.query, _PLAIN)}" if parts.query else "")
        place = self._places[url] = _Place(self._pool.to(Origin.of(url)), target)
        return place

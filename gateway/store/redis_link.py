"""One connection to Redis that all concurrent calls share.

Commands issued in the same turn of the event loop leave in one write; replies come in the order
of the commands. Nothing is ever sent twice. When a reply misses its deadline the connection is
closed, and everything that waits on it fails: a later reply can never be taken for another call's.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, cast

import hiredis

from gateway.errors import StoreUnavailable
from gateway.store.record import DEADLINE
from gateway.store.redis_url import Place

Word = str | bytes | int

_pack = cast(Callable[[tuple[Word, ...]], bytes], hiredis.pack_command)
"""Its stub knows tuples of one only."""

GRACE = 0.05
"""Seconds between finding a reply late and giving up the connection."""

REPLICATION = 0.3
"""Seconds replicas have to take a write. Redis may be 0.1 s late to say that they did not, and a call
may have to wait for two such waits within its deadline."""


class TooFewReplicas(StoreUnavailable):
    """The primary has the write, but would lose it with its disk."""


class Link(asyncio.Protocol):
    """Speaks RESP2, Redis' protocol unless a client asks for another.

    With ``replicas`` one WAIT follows all writes that leave together. Redis answers nothing on this
    connection until it is over, so what comes in the meantime leaves together after it.
    """

    def __init__(self, lost: Callable[[], None], replicas: int = 0) -> None:
        self._lost = lost
        self._replicas = replicas
        self._written: asyncio.Future[int] | None = None
        self._replicating = False
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader()
        self._waiting: deque[tuple[asyncio.Future[Any], float]] = deque()
        self._outgoing: list[bytes] = []
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._grace = False
        self.closed = False

    def send(self, *command: Word) -> asyncio.Future[Any]:
        """The future of one reply; an error reply is its exception (``hiredis.HiredisError``)."""
        if self.closed:
            raise StoreUnavailable
        future: asyncio.Future[Any] = self._loop.create_future()
        self._waiting.append((future, self._loop.time() + DEADLINE))
        if not self._outgoing and not self._replicating:
            self._loop.call_soon(self._flush)
        self._outgoing.append(_pack(command))
        if self._timer is None:
            self._timer = self._loop.call_later(DEADLINE, self._watch)
        return future

    def write(self, *command: Word) -> Awaitable[Any]:
        """As ``send``, once enough replicas have it; TooFewReplicas (it has happened) if they do not."""
        reply = self.send(*command)
        if not self._replicas:
            return reply
        if self._written is None:
            self._written = self._loop.create_future()
        return self._acknowledged(reply, self._written)

    async def _acknowledged(self, reply: asyncio.Future[Any], written: asyncio.Future[int]) -> Any:
        answer = await reply
        await asyncio.wait((written,))
        if written.result() < self._replicas:
            raise TooFewReplicas(f"{written.result()} of {self._replicas} replicas took the write in time")
        return answer

    def close(self) -> None:
        """Close; whatever still waits fails, and may or may not have happened."""
        if self.closed:
            return
        self.closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._transport.abort()
        for future, _ in self._waiting:
            if not future.done():
                future.set_exception(StoreUnavailable())
        self._waiting.clear()
        self._lost()

    def _flush(self) -> None:
        if self.closed or self._replicating:
            return
        if self._written is not None:
            self._replicate(self._written)
        outgoing, self._outgoing = self._outgoing, []
        if self._transport is not None and outgoing:
            self._transport.writelines(outgoing)

    def _replicate(self, written: asyncio.Future[int]) -> None:
        """Ask behind the writes, on their connection, how many replicas have them."""

        def counted(wait: asyncio.Future[Any]) -> None:
            written.set_result(0 if wait.exception() else wait.result())
            self._replicating = False
            self._flush()

        wait = self.send("WAIT", self._replicas, round(REPLICATION * 1000))
        wait.add_done_callback(counted)
        self._written = None
        self._replicating = True

    def _watch(self) -> None:
        """One timer for all: the oldest call is always the first to be late."""
        self._timer = None
        if not self._waiting:
            return
        late_at = self._waiting[0][1]
        if late_at > self._loop.time():
            self._timer = self._loop.call_at(late_at, self._watch)
        elif self._grace:
            self.close()
        else:
            # The loop may have been busy itself: let it read what has come in the meantime.
            self._grace = True
            self._timer = self._loop.call_later(GRACE, self._watch)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not False:
                self._answer(reply)
        except (hiredis.ProtocolError, IndexError):  # not Redis, or more replies than commands
            self.close()

    def _answer(self, reply: Any) -> None:
        future, _ = self._waiting.popleft()
        self._grace = False
        if future.done():
            return
        if isinstance(reply, hiredis.HiredisError):
            future.set_exception(reply)
        else:
            future.set_result(reply)

    def connection_lost(self, exc: Exception | None) -> None:
        self.close()


async def dial(place: Place, tls: ssl.SSLContext | None, lost: Callable[[], None], replicas: int = 0) -> Link:
    """OSError when nobody listens there."""
    loop = asyncio.get_running_loop()
    if isinstance(place, str):
        _, link = await loop.create_unix_connection(lambda: Link(lost, replicas), place)
    else:
        _, link = await loop.create_connection(lambda: Link(lost, replicas), place[0], place[1], ssl=tls)
    return link

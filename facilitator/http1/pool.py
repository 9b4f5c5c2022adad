"""Connections kept for the next request, newest first, for each origin."""

from __future__ import annotations

import asyncio
import ssl

from facilitator.http1.answer import Answer
from facilitator.http1.connection import Connection
from facilitator.http1.dial import Dialler
from facilitator.http1.errors import Unreachable
from facilitator.http1.origin import Origin
from facilitator.http1.request import Body

KEPT = 15.0
"""Seconds a connection waits for its next request."""


class Peer:
    """One origin and the connections to it."""

    def __init__(self, origin: Origin, tls: ssl.SSLContext | None) -> None:
        self.origin = origin
        self._dialler = Dialler(origin, tls)
        self._all: set[Connection] = set()
        self._idle: list[Connection] = []
        self._sweeping: asyncio.TimerHandle | None = None

    async def ask(
        self,
        head: bytes,
        body: Body = None,
        *,
        bare: bool = False,
        upgrade: bool = False,
        connect: float | None = None,
        patience: float | None = None,
        until: float | None = None,
    ) -> Answer:
        """Send one request, once, and wait for the head of its answer; HttpError where none comes.

        ``connect`` and ``patience`` bound connecting and silence (seconds), ``until`` all of it (loop
        time). ``bare``: the answer has no content (HEAD). ``upgrade``: a 101 is asked for.
        """
        connection = self._kept() or await self._connected(connect, until)
        answer = connection.ask(head, body, bare=bare, upgrade=upgrade, patience=patience, until=until)
        try:
            await answer.begun()
        except BaseException:
            answer.close()
            raise
        return answer

    def close(self) -> None:
        """End every connection."""
        if self._sweeping is not None:
            self._sweeping.cancel()
        for connection in list(self._all):
            connection.close()

    def _kept(self) -> Connection | None:
        """Not one that the origin has closed, or spoken on unasked."""
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
        return None

    async def _connected(self, connect: float | None, until: float | None) -> Connection:
        loop = asyncio.get_running_loop()
        bounds = [until] if until is not None else []
        if connect is not None:
            bounds.append(loop.time() + connect)
        try:
            async with asyncio.timeout_at(min(bounds, default=None)):
                connection = await self._dialler.connect(self._make)
        except (OSError, TimeoutError) as error:
            raise Unreachable(self.origin.authority) from error
        if not connection.usable:
            raise Unreachable(self.origin.authority)
        self._all.add(connection)
        return connection

    def _make(self) -> Connection:
        return Connection(self._free, self._lost)

    def _free(self, connection: Connection) -> None:
        self._idle.append(connection)
        if self._sweeping is None:
            self._sweeping = asyncio.get_running_loop().call_later(KEPT, self._sweep)

    def _lost(self, connection: Connection) -> None:
        self._all.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def _sweep(self) -> None:
        """The longest unused come first."""
        self._sweeping = None
        loop = asyncio.get_running_loop()
        while self._idle and self._idle[0].idle_since + KEPT <= loop.time():
            self._idle.pop(0).close()
        if self._idle:
            self._sweeping = loop.call_at(self._idle[0].idle_since + KEPT, self._sweep)


class Pool:
    """The origins that are talked to."""

    def __init__(self) -> None:
        self._peers: dict[Origin, Peer] = {}
        self._tls: ssl.SSLContext | None = None

    def to(self, origin: Origin) -> Peer:
        """The same for the same origin."""
        peer = self._peers.get(origin)
        if peer is None:
            peer = self._peers[origin] = Peer(origin, self._context() if origin.tls else None)
        return peer

    def close(self) -> None:
        """End every connection to anybody."""
        for peer in self._peers.values():
            peer.close()

    def _context(self) -> ssl.SSLContext:
        """Certificates and names are checked; nothing but HTTP/1.1 is spoken."""
        if self._tls is None:
            self._tls = ssl.create_default_context()
            self._tls.set_alpn_protocols(["http/1.1"])
        return self._tls

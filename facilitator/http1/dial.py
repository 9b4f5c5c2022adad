"""New connections: names resolved, addresses tried one beside the other, TLS (RFC 8305, simplified)."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence
from itertools import chain, zip_longest

from facilitator.http1.connection import Connection
from facilitator.http1.origin import Origin

RESOLVED = 10.0
"""Seconds for which addresses are used before a name is resolved again."""
_NEXT = 0.25
"""Seconds after which the next address is tried beside those before it."""

Make = Callable[[], Connection]
_Try = asyncio.Task[Connection]


class Dialler:
    """Connects to one origin."""

    def __init__(self, origin: Origin, tls: ssl.SSLContext | None) -> None:
        self._origin = origin
        self._tls = tls
        self._addresses: Sequence[str] = (origin.host,) if origin.literal else ()
        self._resolved = float("-inf")
        self._resolving: asyncio.Task[Sequence[str]] | None = None

    async def connect(self, make: Make) -> Connection:
        """The first connection that comes about; OSError (of the last address) where none does."""
        addresses = await self._resolve()
        if len(addresses) == 1:
            return await self._to(addresses[0], make)
        return await self._first(addresses, make)

    async def _resolve(self) -> Sequence[str]:
        loop = asyncio.get_running_loop()
        if self._origin.literal or loop.time() - self._resolved < RESOLVED:
            return self._addresses
        if self._resolving is None:
            self._resolving = loop.create_task(_addresses(self._origin))
            self._resolving.add_done_callback(self._found)
        return await asyncio.shield(self._resolving)

    def _found(self, task: asyncio.Task[Sequence[str]]) -> None:
        self._resolving = None
        if not task.cancelled() and task.exception() is None:
            self._addresses = task.result()
            self._resolved = asyncio.get_running_loop().time()

    async def _to(self, address: str, make: Make) -> Connection:
        loop, origin = asyncio.get_running_loop(), self._origin
        name = origin.host if self._tls is not None else None
        _, made = await loop.create_connection(
            make, address, origin.port, ssl=self._tls, server_hostname=name
        )
        return made

    async def _first(self, addresses: Sequence[str], make: Make) -> Connection:
        """Each gets a moment before the next one is tried, too; who is late is hung up on."""
        tried: list[_Try] = []
        won: _Try | None = None
        try:
            for address in addresses:
                tried.append(asyncio.ensure_future(self._to(address, make)))
                if won := await _winner(tried, _NEXT):
                    return won.result()
            while any(not task.done() for task in tried):
                if won := await _winner(tried, None):
                    return won.result()
            raise tried[-1].exception() or OSError("no address")
        finally:
            for task in tried:
                if task is not won:
                    task.add_done_callback(_hang_up)
                    task.cancel()


async def _winner(
    tried: Sequence[asyncio.Task[Connection]], moment: float | None
) -> asyncio.Task[Connection] | None:
    """One that is connected, once one has ended or a moment (seconds) has passed."""
    pending = [task for task in tried if not task.done()]
    if pending:
        await asyncio.wait(pending, timeout=moment, return_when=asyncio.FIRST_COMPLETED)
    return next((task for task in tried if task.done() and task.exception() is None), None)


def _hang_up(task: _Try) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().close()


async def _addresses(origin: Origin) -> Sequence[str]:
    """Of both families in turn, the resolver's first choice first."""
    found = await asyncio.get_running_loop().getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
    families: dict[int, list[str]] = {}
    for family, _, _, _, address in found:
        families.setdefault(family, []).append(str(address[0]))
    return [each for each in chain.from_iterable(zip_longest(*families.values())) if each is not None]

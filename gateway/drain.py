"""The end of a listener: no request that reached this machine is lost.

Connections the kernel has accepted for us are served, too; every answer from now on says that the
connection ends with it; who is silent for a moment is let go.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import cast

from gateway.connection import Connection
from gateway.listener import Listener

GRACE = 0.5
"""Seconds in which a connection that was just made may still send its request."""
POLL = 0.02
BREAK = 0.5
"""Seconds in which what is nearly finished may still end by itself."""


async def drain(server: asyncio.Server, listening: socket.socket, listener: Listener, until: float) -> int:
    """Accept no more and finish what has begun, at most ``until`` (loop time).

    Returns how many connections were not finished: those are broken off. ``listening`` is the server's
    own socket.
    """
    loop = asyncio.get_running_loop()
    queue = listening.dup()
    server.close()
    await _take_in(queue, listener)
    for connection in listener.connections:
        cast(Connection, connection).last_answer = True
    await _until_gone(listener, min(until, loop.time() + GRACE))
    listener.retire()
    await _until_gone(listener, until)
    unfinished = len(listener.connections)
    await break_off(listener)
    return unfinished


async def break_off(listener: Listener) -> None:
    """End every request under way: nothing may go on in the name of a process that says it is gone."""
    await listener.shutdown(timeout=BREAK)


async def _take_in(queue: socket.socket, listener: Listener) -> None:
    """Closing a listening socket resets who waits in its queue: take them first."""
    waiting: list[socket.socket] = []
    with queue, suppress(BlockingIOError):
        while True:
            waiting.append(queue.accept()[0])
    loop = asyncio.get_running_loop()
    for client in waiting:
        client.setblocking(False)
        await loop.connect_accepted_socket(listener, client)


async def _until_gone(listener: Listener, until: float) -> None:
    loop = asyncio.get_running_loop()
    while listener.connections and loop.time() < until:  # noqa: ASYNC110 - aiohttp tells nobody of an end
        await asyncio.sleep(POLL)

"""A connection of ``facilitator.http1`` without a network: the test is the origin."""

from __future__ import annotations

import asyncio
from typing import Any

from facilitator.http1.answer import Answer
from facilitator.http1.connection import Connection
from facilitator.http1.request import Body


class Line(asyncio.Transport):
    """The transport of one connection, and what became of it."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.paused = False
        self.aborted = False
        self.ended = False
        self.unsent = 0
        """Bytes that the network has not taken."""
        self.free = 0
        """How often the connection was free for another request."""
        self.lost = 0
        self.connection = Connection(self._freed, self._lost)
        self.connection.connection_made(self)

    def ask(self, head: bytes = b"GET / HTTP/1.1\r\n\r\n", body: Body = None, **how: Any) -> Answer:
        """One request."""
        told = {"bare": False, "upgrade": False, "patience": 5.0, "until": None, **how}
        return self.connection.ask(head, body, **told)

    # The origin's side

    def hear(self, data: bytes) -> None:
        """The origin says something, where it is still listened to."""
        if data and not self.aborted and not self.ended:
            self.connection.data_received(data)

    def hear_end(self) -> None:
        """The origin ends the connection in order."""
        if not self.aborted and not self.ended:
            self.connection.eof_received()
            self.close()

    def break_off(self) -> None:
        """The origin resets the connection."""
        self.ended = True
        self.connection.connection_lost(ConnectionResetError())

    def _freed(self, connection: Connection) -> None:
        self.free += 1

    def _lost(self, connection: Connection) -> None:
        self.lost += 1

    # The connection's side

    def write(self, data: Any) -> None:
        self.sent += data

    def writelines(self, list_of_data: Any) -> None:
        self.sent += b"".join(list_of_data)

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def is_closing(self) -> bool:
        return self.aborted or self.ended

    def close(self) -> None:
        if not self.ended:
            self.ended = True
            self.connection.connection_lost(None)

    def abort(self) -> None:
        if not self.aborted and not self.ended:
            self.aborted = True
            self.connection.connection_lost(None)

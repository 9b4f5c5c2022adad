"""A client that sends exactly the bytes it is given."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from kit.answers import decoded

QUIET = 0.2
"""Seconds in which a further answer to pipelined requests would have come."""


@dataclass(frozen=True)
class Reply:
    """One answer as it came."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def quoted(self) -> str | None:
        """The amount a 402 asks for, in atomic units."""
        challenge = self.headers.get("payment-required")
        return decoded(challenge)["accepts"][0]["amount"] if challenge else None


def converse(
    url: str, data: bytes, *, half_close: bool = False, patience: float = 5.0
) -> tuple[list[Reply], bool]:
    """Every answer to ``data``, and whether the other side closed within ``patience`` seconds of silence.

    Where the last answer keeps the connection open, ``QUIET`` seconds without another one are enough.
    """
    with connect(url) as sock:
        try:
            sock.sendall(data)
            if half_close:
                sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        received, closed = _receive(sock, patience)
    return _parse(received), closed


def connect(url: str) -> socket.socket:
    """A connection to the listener behind ``url``."""
    parts = urlsplit(url)
    return socket.create_connection((parts.hostname or "", parts.port or 80), timeout=5)


def _receive(sock: socket.socket, patience: float) -> tuple[bytes, bool]:
    received = b""
    while True:
        sock.settimeout(QUIET if _stays_open(received) else patience)
        try:
            data = sock.recv(1 << 20)
        except TimeoutError:
            return received, False
        except OSError:
            return received, True
        if not data:
            return received, True
        received += data


def _stays_open(received: bytes) -> bool:
    """Whether what came so far is whole answers, the last of which does not end the connection."""
    try:
        replies = _parse(received)
    except (AssertionError, ValueError, IndexError):
        return False
    whole = bool(replies) and len(replies[-1].body) == int(replies[-1].headers.get("content-length", 0))
    return whole and replies[-1].headers.get("connection", "").lower() != "close"


def _parse(data: bytes) -> list[Reply]:
    replies = []
    while data.startswith(b"HTTP/1.1 "):
        head, _, data = data.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        headers = {
            name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])
        }
        length = int(headers.get("content-length", 0))
        replies.append(Reply(int(lines[0].split(" ")[1]), headers, data[:length]))
        data = data[length:]
    assert not data, f"not an answer: {data[:80]!r}"
    return replies

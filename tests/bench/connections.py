"""Many connections at once that do little: idle ones, and streams."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

_PATIENCE = 30.0


@contextmanager
def opened(url: str, path: str, number: int, until: bytes) -> Iterator[None]:
    """That many connections, on each of which one GET was answered as far as ``until``; they stay open."""
    parts = urlsplit(url)
    request = f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode()
    with ExitStack() as stack:
        for _ in range(number):
            connection = socket.create_connection((parts.hostname, parts.port), _PATIENCE)
            stack.enter_context(connection)
            connection.sendall(request)
            _read(connection, until)
        yield


def _read(connection: socket.socket, until: bytes) -> None:
    seen = b""
    while until not in seen:
        data = connection.recv(65536)
        if not data:
            raise ConnectionError(f"closed after {seen[-200:]!r}")
        seen += data

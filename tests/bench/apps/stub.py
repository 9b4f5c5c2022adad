"""What stands behind every server measured: ``python -m bench.apps.stub PORT``

A raw protocol, so that it is never what is measured. ``GET /1k``, ``/1m`` and ``/10b`` answer so many bytes,
``/drip`` begins a stream that never ends; ``/verify``, ``/settle`` and ``/supported`` are a facilitator's,
``/rpc`` a chain's. It keeps nothing.
"""

from __future__ import annotations

import asyncio
import re
import sys
from typing import cast

import orjson
import uvloop
from bench.apps.instant import SUPPORTED, rpc, settled, verified

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
_SIZES = {b"10b": 10, b"1k": 1024, b"1m": 1024 * 1024}
_POSTS = {b"verify": verified, b"settle": settled, b"rpc": rpc}


def _answer(kind: bytes, body: bytes, status: bytes = b"200 OK") -> bytes:
    head = b"HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n" % (status, kind, len(body))
    return head + body


_READY = {name: _answer(b"text/plain", b"x" * size) for name, size in _SIZES.items()} | {
    b"supported": _answer(b"application/json", SUPPORTED)
}
_STREAM = b"Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_DRIP = b"HTTP/1.1 200 OK\r\n" + _STREAM + b"4\r\ndrop\r\n"
_NOT_FOUND = _answer(b"text/plain", b"no such path", b"404 Not Found")


class Stub(asyncio.Protocol):
    """One connection; requests that are sent ahead are answered in order."""

    def __init__(self) -> None:
        self._read = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._read += data
        while self._one():
            pass

    def _one(self) -> bool:
        end = self._read.find(b"\r\n\r\n")
        if end < 0:
            return False
        head = self._read[: end + 2]
        found = _LENGTH.search(head)
        whole = end + 4 + (int(found[1]) if found else 0)
        if found is None and _CHUNKED.search(head):
            whole = self._read.find(b"0\r\n\r\n", end + 2) + 5
            if whole < end + 4:
                return False
        if len(self._read) < whole:
            return False
        body = self._read[end + 4 : whole]
        self._read = self._read[whole:]
        self._transport.write(_respond(head.split(b" ", 2)[1], body))
        return True


def _respond(target: bytes, body: bytes) -> bytes:
    last = target.partition(b"?")[0].rpartition(b"/")[2]
    if ready := _READY.get(last):
        return ready
    if last == b"drip":
        return _DRIP
    if post := _POSTS.get(last):
        return _answer(b"application/json", post(orjson.loads(body)))
    return _NOT_FOUND


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Stub, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))

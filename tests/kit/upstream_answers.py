"""What an upstream can do to a request, well or badly: behaviours for ``kit.upstream.Upstream.on``."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import json
import socket
import struct
import threading
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Any

from kit.upstream import Behaviour, Exchange, account

_WEBSOCKET_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
Headers = Sequence[tuple[str, str]]


def ok_bytes(
    body: bytes,
    content_type: str = "application/octet-stream",
    status: int = 200,
    headers: Headers = (),
) -> Behaviour:
    """These bytes with a Content-Length."""
    head = _head(status, (("Content-Type", content_type), ("Content-Length", str(len(body))), *headers))

    async def answer(exchange: Exchange) -> bool:
        await exchange.send(head if exchange.received.method == "HEAD" else head + body)
        return True

    return answer


def ok_json(document: Any, status: int = 200, headers: Headers = ()) -> Behaviour:
    """This object as JSON."""
    return ok_bytes(json.dumps(document).encode(), "application/json", status, headers)


def status(code: int) -> Behaviour:
    """That status and a short JSON body."""
    return ok_json({"status": code}, code)


def gzipped(body: bytes, content_type: str = "application/json") -> Behaviour:
    """These bytes with ``Content-Encoding: gzip``, packed the same way each time."""
    return ok_bytes(gzip.compress(body, mtime=0), content_type, headers=(("Content-Encoding", "gzip"),))


def chunked(*parts: bytes, headers: Headers = ()) -> Behaviour:
    """The parts as chunks."""
    head = _head(200, (("Content-Type", "text/plain"), ("Transfer-Encoding", "chunked"), *headers))

    async def answer(exchange: Exchange) -> bool:
        await exchange.send(head)
        for part in (*parts, b""):
            await exchange.send(b"%x\r\n%b\r\n" % (len(part), part))
        return True

    return answer


def drip(body: bytes, pause: float, size: int = 1) -> Behaviour:
    """The body with its length, ``size`` bytes at a time."""
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return _paced(_head(200, (("Content-Length", str(len(body))),)), pieces, pause, keep=True)


def events(*data: str, pause: float = 0.05) -> Behaviour:
    """Server-sent events; the end of the connection ends them."""
    head = _head(200, (("Content-Type", "text/event-stream"), ("Connection", "close")))
    return _paced(head, [f"data: {each}\n\n".encode() for each in data], pause, keep=False)


def endless(piece: bytes = b"x" * 65536) -> Behaviour:
    """Chunks until nobody reads any more."""

    async def answer(exchange: Exchange) -> bool:
        await exchange.send(_head(200, (("Transfer-Encoding", "chunked"),)))
        while True:
            await exchange.send(b"%x\r\n%b\r\n" % (len(piece), piece))

    return answer


def raw(*writes: bytes, keep: bool = False) -> Behaviour:
    """These bytes as they are, then the connection is closed (or kept)."""
    return _paced(b"", writes, 0.0, keep=keep)


def hang() -> Behaviour:
    """Never a byte."""

    async def answer(exchange: Exchange) -> bool:
        await asyncio.Event().wait()
        return False

    return answer


def die_in_mid_body(sent: bytes = b"half", promised: int = 1000) -> Behaviour:
    """Fewer bytes than promised, then the connection is closed in order."""
    return raw(_head(200, (("Content-Length", str(promised)),)) + sent)


def reset(after: bytes = b"") -> Behaviour:
    """These bytes, then a TCP reset."""

    async def answer(exchange: Exchange) -> bool:
        await exchange.send(after)
        connection: socket.socket = exchange.writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        exchange.writer.transport.abort()
        return False

    return answer


def held(until: threading.Event, then: Behaviour = account) -> Behaviour:
    """Waits for the test's word before it answers."""

    async def answer(exchange: Exchange) -> bool:
        while not until.is_set():  # noqa: ASYNC110 - the event belongs to the test's thread
            await asyncio.sleep(0.005)
        return await then(exchange)

    return answer


def later(seconds: float, then: Behaviour = account) -> Behaviour:
    """Answers after a while."""

    async def answer(exchange: Exchange) -> bool:
        await asyncio.sleep(seconds)
        return await then(exchange)

    return answer


def websocket_echo() -> Behaviour:
    """Upgrades and sends each short frame back."""

    async def answer(exchange: Exchange) -> bool:
        key = (exchange.received.header("Sec-WebSocket-Key") or "").encode()
        accept = base64.b64encode(hashlib.sha1(key + _WEBSOCKET_MAGIC).digest()).decode()
        upgrade = (("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", accept))
        await exchange.send(_head(101, upgrade))
        while True:
            await exchange.send(await _unmasked_frame(exchange.reader))

    return answer


async def _unmasked_frame(reader: asyncio.StreamReader) -> bytes:
    opcode, length = await reader.readexactly(2)
    mask = await reader.readexactly(4)
    payload = await reader.readexactly(length & 0x7F)
    return bytes([opcode, length & 0x7F]) + bytes(b ^ mask[i % 4] for i, b in enumerate(payload))


def _paced(head: bytes, pieces: Iterable[bytes], pause: float, *, keep: bool) -> Behaviour:
    kept = list(pieces)

    async def answer(exchange: Exchange) -> bool:
        await exchange.send(head)
        for piece in kept:
            await exchange.send(piece)
            await asyncio.sleep(pause)
        return keep

    return answer


def _head(code: int, headers: Headers) -> bytes:
    reason = HTTPStatus(code).phrase
    lines = [f"HTTP/1.1 {code} {reason}", *(f"{name}: {value}" for name, value in headers)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

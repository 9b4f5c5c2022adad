"""The API behind every proxy, and a facilitator that says yes at once: ``python -m bench.apps.stub PORT``

A raw protocol, so that it is never what is measured. ``GET /1k`` and ``/1m`` answer so many bytes of text;
``/verify``, ``/settle`` and ``/supported`` are those of x402. It keeps nothing and checks nothing.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import sys
from typing import cast

import orjson
import uvloop

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
_SIZES = {b"1k": 1024, b"1m": 1024 * 1024, b"10b": 10}
_hashes = itertools.count(1)
_KINDS = [
    {"x402Version": 2, "scheme": "exact", "network": "eip155:84532"},
    {"x402Version": 1, "scheme": "exact", "network": "base-sepolia"},
]


def _answer(kind: bytes, body: bytes, status: bytes = b"200 OK") -> bytes:
    head = b"HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n" % (status, kind, len(body))
    return head + body


_GOODS = {name: _answer(b"text/plain", b"x" * size) for name, size in _SIZES.items()}
_SUPPORTED = orjson.dumps({"kinds": _KINDS, "extensions": [], "signers": {}})
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
            whole = self._read.find(b"0\r\n\r\n", end + 4) + 5
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
    if goods := _GOODS.get(last):
        return goods
    if last == b"supported":
        return _answer(b"application/json", _SUPPORTED)
    if last in (b"verify", b"settle"):
        return _answer(b"application/json", _verdict(last, orjson.loads(body)))
    return _NOT_FOUND


def _verdict(asked: bytes, document: dict) -> bytes:  # type: ignore[type-arg]
    payer = document["paymentPayload"]["payload"]["authorization"]["from"]
    if asked == b"verify":
        return orjson.dumps({"isValid": True, "payer": payer})
    terms = document["paymentRequirements"]
    amount = terms.get("amount") or terms["maxAmountRequired"]
    done = {"success": True, "payer": payer, "network": terms["network"], "amount": amount}
    return orjson.dumps({**done, "transaction": f"0x{next(_hashes):064x}"})


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Stub, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))

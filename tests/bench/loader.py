"""Our own load, for machines without wrk: ``python -m bench.loader URL CONNECTIONS SECONDS [FILE HEADER]``

Closed loop over keep-alive connections; each line of FILE is sent once, its path with HEADER; when there are
none left the run is over. Prints what ``load.lua`` prints. Heavier than wrk: before a fast server it is the
limit itself.
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import orjson
import uvloop

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class Count:
    """What all connections together have seen."""

    def __init__(self, requests: Iterator[bytes]) -> None:
        self.requests = requests
        self.latencies: list[float] = []
        self.refused = self.failed = 0
        self.ran_out = False
        self.over = asyncio.Event()


class Connection(asyncio.Protocol):
    """One client that asks again as soon as it is answered."""

    def __init__(self, count: Count) -> None:
        self._count = count
        self._read = bytearray()
        self._sent = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._read += data
        end = self._read.find(b"\r\n\r\n")
        if end < 0 or not self._whole(end):
            return
        self._count.latencies.append(time.perf_counter() - self._sent)
        self._count.refused += self._read[9:10] > b"3"
        self._read.clear()
        self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._count.over.is_set():
            self._count.failed += 1

    def _whole(self, end: int) -> bool:
        found = _LENGTH.search(self._read, 0, end)
        if found is None:
            return self._read.endswith(b"0\r\n\r\n")
        return len(self._read) >= end + 4 + int(found[1])

    def _ask(self) -> None:
        request = None if self._count.over.is_set() else next(self._count.requests, None)
        if request is None:
            self._count.ran_out |= not self._count.over.is_set()
            self._count.over.set()
            self._transport.close()
            return
        self._sent = time.perf_counter()
        self._transport.write(request)


def requests(url: str, file: str | None, header: str) -> Iterator[bytes]:
    """The requests in turn: one for each line of the file, or the same for ever."""
    parts = urlsplit(url)
    host = f" HTTP/1.1\r\nHost: {parts.netloc}\r\n".encode()
    if file is None:
        while True:
            yield b"GET " + (parts.path or "/").encode() + host + b"\r\n"
    for path, value in map(bytes.split, Path(file).read_bytes().splitlines()):
        yield b"GET " + path + host + header.encode() + b": " + value + b"\r\n\r\n"


async def run(url: str, connections: int, seconds: float, file: str | None, header: str) -> dict[str, float]:
    """Loads ``url`` and tells what came of it."""
    count = Count(requests(url, file, header))
    loop, parts = asyncio.get_running_loop(), urlsplit(url)
    started = time.perf_counter()
    for _ in range(connections):
        await loop.create_connection(lambda: Connection(count), parts.hostname, parts.port)
    try:
        await asyncio.wait_for(count.over.wait(), seconds)
    except TimeoutError:
        count.over.set()
    elapsed = time.perf_counter() - started
    ordered = sorted(count.latencies) or [0.0]
    return {
        "requests": len(count.latencies),
        "seconds": elapsed,
        "p50_us": round(ordered[len(ordered) // 2] * 1e6),
        "p99_us": round(ordered[len(ordered) * 99 // 100] * 1e6),
        "refused": count.refused,
        "failed": count.failed,
        "ran_out": count.ran_out,
    }


def main() -> None:
    """Runs it and prints one line of JSON."""
    url, connections, seconds, *paid = sys.argv[1:]
    file, header = paid or (None, "")
    told = uvloop.run(run(url, int(connections), float(seconds), file, header))
    sys.stdout.write(orjson.dumps(told).decode() + "\n")


if __name__ == "__main__":
    main()

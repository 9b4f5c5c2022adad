"""Many requests at once, cheaply: ready bytes over some connections, answers counted by status and code."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

_LENGTH = re.compile(rb"^content-length: *(\d+)", re.IGNORECASE | re.MULTILINE)
_CODE = re.compile(rb'"code": ?"([a-z_0-9]+)"')


def flood(url: str, paid: Sequence[Mapping[str, str]], connections: int = 100) -> Counter[tuple[int, str]]:
    """Sends ``GET url`` once with each of these headers; how often each status and ``code`` came."""
    return asyncio.run(_flood(url, paid, connections))


async def _flood(url: str, paid: Sequence[Mapping[str, str]], connections: int) -> Counter[tuple[int, str]]:
    parts = urlsplit(url)
    waiting = [_request(parts.path, parts.netloc, each) for each in reversed(paid)]
    seen: Counter[tuple[int, str]] = Counter()

    async def one() -> None:
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=1 << 20)
        while waiting:
            writer.write(waiting.pop())
            seen[await _answer(reader)] += 1
        writer.close()

    await asyncio.gather(*(one() for _ in range(connections)))
    return seen


def _request(path: str, host: str, headers: Mapping[str, str]) -> bytes:
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: {host}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def _answer(reader: asyncio.StreamReader) -> tuple[int, str]:
    head = await reader.readuntil(b"\r\n\r\n")
    length = _LENGTH.search(head)
    body = await reader.readexactly(int(length[1]) if length else 0)
    code = _CODE.search(body)
    return int(head[9:12]), code[1].decode() if code else ""

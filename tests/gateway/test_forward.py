"""What of an upstream's answer is believed, and what its faults are called."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.accept import Forwarded, Incoming
from gateway.budget import Budget
from gateway.errors import ClientError, Problem, UpstreamError
from gateway.forward import Fetched, Forwarder, checked_fields
from gateway.headers import Field
from gateway.settings import Upstream
from policies.target import canonical

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.mark.parametrize("status", [101, 199, 600, 999])
def test_a_status_nobody_knows_is_broken(status: int) -> None:
    answer: Any = SimpleNamespace(status=status, fields=[])
    with pytest.raises(UpstreamError, match="upstream_invalid"):
        checked_fields(answer)


@asynccontextmanager
async def behind(said: bytes | None, **upstream: Any) -> AsyncIterator[tuple[Forwarder, list[bytes]]]:
    """A forwarder to an upstream that always says the same; None: nothing."""
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(said or b"")
        if said is not None:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    known = {
        "timeout": 1.0,
        "connect_timeout": 1.0,
        "host": "upstream",
        "headers": {},
        "url": url,
        **upstream,
    }
    forwarder = Forwarder({"api": Upstream(name="api", **known)}, "tollway-1", 1000)
    try:
        yield forwarder, heard
    finally:
        forwarder.close()
        server.close()


def incoming(*fields: Field, method: str = "GET", path: str = "/x") -> Incoming:
    raw: Any = SimpleNamespace(content_length=None)
    origin = Forwarded("203.0.113.9", "http", "gw.test", False)
    return Incoming(raw, method, canonical(path), "gw.test", fields, origin, "id-1")


async def fetched(forwarder: Forwarder, asked: Incoming, body: bytes = b"", within: float = 1.0) -> Fetched:
    return await forwarder.fetch(asked, "api", body, (), within, Budget(10_000).hold())


async def test_a_whole_answer() -> None:
    async with behind(OK) as (forwarder, heard):
        assert await fetched(forwarder, incoming()) == Fetched(200, (), b"ok", 2)
        assert heard[0].startswith(b"GET /x HTTP/1.1\r\nHost: 127.0.0.1:")


FAULTS = [
    (b"", "upstream_invalid"),
    (b"SSH-2.0", "upstream_invalid"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok", "upstream_invalid"),
    (b"HTTP/1.1 999 X\r\nContent-Length: 2\r\n\r\nok", "upstream_invalid"),
    (b"HTTP/1.1 200 OK\r\nX: a\x00b\r\nContent-Length: 2\r\n\r\nok", "upstream_invalid"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n" + b"x" * 1001, "answer_too_large"),
    (None, "upstream_timeout"),
]


@pytest.mark.parametrize(("said", "code"), FAULTS, ids=repr)
async def test_faults_have_names(said: bytes | None, code: str) -> None:
    async with behind(said) as (forwarder, heard):
        with pytest.raises(UpstreamError, match=code) as raised:
            await fetched(forwarder, incoming(), within=0.05 if said is None else 5.0)
        assert raised.value.status == (504 if said is None else 502) and len(heard) == 1


async def test_nobody_there() -> None:
    async with behind(OK, url="http://127.0.0.1:1") as (forwarder, _):
        with pytest.raises(UpstreamError, match="upstream_unreachable"):
            await fetched(forwarder, incoming())


async def test_more_than_memory_allows() -> None:
    async with behind(OK) as (forwarder, _):
        with pytest.raises(Problem, match="busy"):
            await forwarder.fetch(incoming(), "api", b"", (), 1.0, Budget(1).hold())


@pytest.mark.parametrize("field", [(b"X", b"a\r\nY: b"), (b"X\r\nY", b"b"), (b"X", b"a\x00")], ids=repr)
async def test_what_is_no_header_is_not_sent(field: Field) -> None:
    async with behind(OK) as (forwarder, heard):
        with pytest.raises(ClientError, match="bad_request"):
            await fetched(forwarder, incoming(field))
        assert not heard


@pytest.mark.parametrize(
    ("method", "body", "framing"),
    [
        ("GET", b"", b""),
        ("POST", b"", b"Content-Length: 0\r\n"),
        ("DELETE", b"", b""),
        ("DELETE", b"abc", b"Content-Length: 3\r\n"),
    ],
)
async def test_content_has_its_length(method: str, body: bytes, framing: bytes) -> None:
    async with behind(OK) as (forwarder, heard):
        await fetched(forwarder, incoming(method=method), body)
        assert heard[0].endswith(framing + b"\r\n") and (b"Content-Length" in heard[0]) == bool(framing)


async def test_other_upstreams_are_used_after_a_reload() -> None:
    async with behind(OK) as (old, first), behind(OK) as (new, second):
        await fetched(old, incoming())
        old._ways = new._ways
        await fetched(old, incoming())
        assert (len(first), len(second)) == (1, 1)

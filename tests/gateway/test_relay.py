"""Which upgrades become tunnels, and bodies on their way to the upstream."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.streams import StreamReader

from gateway.errors import ClientError
from gateway.relay import Relay, RequestBody, _upgrade_of


def wanted(
    *values: bytes, version: tuple[int, int] = (1, 1), body: bool = False, upgrade: bool = True
) -> bytes | None:
    raw = SimpleNamespace(_message=SimpleNamespace(upgrade=upgrade), version=version)
    incoming: Any = SimpleNamespace(fields=[(b"Upgrade", value) for value in values], raw=raw, has_body=body)
    return _upgrade_of(incoming)


def test_what_becomes_a_tunnel() -> None:
    assert wanted(b"websocket") == b"websocket"
    assert wanted(b"WebSocket", b"IRC/6.9") == b"WebSocket, IRC/6.9"
    assert wanted("ü€".encode()) == "ü€".encode()


@pytest.mark.parametrize(
    "value",
    [
        b"h2c",
        b"H2C",
        b"h2",
        b"HTTP/2.0",
        b"http/1.1",
        b"h3",
        b"TLS/1.2",
        b"websocket, h2c",
        b" h2c",
        b"a,h2c",
    ],
)
def test_no_tunnel_for_another_http(value: bytes) -> None:
    assert wanted(value) is None and wanted(b"websocket", value) is None


def test_no_tunnel_where_there_is_a_body_or_none_can_be() -> None:
    assert wanted(b"websocket", body=True) is None
    assert wanted(b"websocket", version=(1, 0)) is None
    assert wanted(b"websocket", upgrade=False) is None


@pytest.fixture
async def content() -> StreamReader:
    connection = BaseProtocol(asyncio.get_running_loop())
    connection.transport = asyncio.Transport()
    return StreamReader(connection, 1 << 16)


def body(content: StreamReader, limit: int = 100, timeout: float = 1.0) -> RequestBody:
    request: Any = SimpleNamespace(content=content, content_length=None)
    return RequestBody(request, limit, timeout)


async def test_content_is_passed_on_as_it_comes(content: StreamReader) -> None:
    coming = body(content)
    for piece in (b"a", b"bc"):
        content.feed_data(piece)
        assert await coming.read() == piece
    content.feed_eof()
    assert await coming.read() == b""


async def test_the_limit(content: StreamReader) -> None:
    coming = body(content, limit=4)
    content.feed_data(b"abcd")
    assert await coming.read() == b"abcd"
    content.feed_data(b"e")
    with pytest.raises(ClientError, match="body_too_large") as raised:
        await coming.read()
    assert raised.value.status == 413


async def test_a_client_that_pauses_too_long_is_the_one_to_blame(content: StreamReader) -> None:
    with pytest.raises(ClientError, match="body_timeout") as raised:
        await body(content, timeout=0.02).read()
    assert raised.value.status == 408


async def test_a_client_that_breaks_off_is_told_apart(content: StreamReader) -> None:
    content.set_exception(ConnectionResetError())
    with pytest.raises(ClientError, match="bad_request"):
        await body(content).read()


def arrived(content: StreamReader, limit: int = 10) -> Any:
    request = SimpleNamespace(content=content, content_length=None, headers={}, version=(1, 1))
    incoming: Any = SimpleNamespace(raw=request, has_body=True)
    forwarder: Any = None
    return Relay(forwarder, limit, 1.0)._body(incoming)


async def test_content_that_is_all_there_is_sent_at_once(content: StreamReader) -> None:
    content.feed_data(b"ab")
    assert isinstance(arrived(content), RequestBody)
    content.feed_data(b"c")
    content.feed_eof()
    assert arrived(content) == b"abc" and content.at_eof()


async def test_and_has_the_same_limit(content: StreamReader) -> None:
    content.feed_data(b"x" * 11)
    content.feed_eof()
    with pytest.raises(ClientError, match="body_too_large"):
        arrived(content)

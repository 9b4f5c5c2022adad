"""Which upgrades become tunnels, and bodies on their way to the upstream."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.streams import StreamReader

from gateway.errors import ClientError
from gateway.relay import RequestBody, _upgrade_of


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


class Writer:
    """The upstream's side: takes what it is given, at once or never."""

    def __init__(self, deaf: bool = False) -> None:
        self.written = b""
        self.headers_sent = False
        self._deaf = deaf

    def send_headers(self) -> None:
        self.headers_sent = True

    async def write(self, chunk: bytes) -> None:
        if self._deaf:
            await asyncio.Event().wait()
        self.written += chunk


@pytest.fixture
async def content() -> StreamReader:
    connection = BaseProtocol(asyncio.get_running_loop())
    connection.transport = asyncio.Transport()
    return StreamReader(connection, 1 << 16)


def body(content: StreamReader, limit: int = 100, timeout: float = 1.0, patience: float = 1.0) -> RequestBody:
    request: Any = SimpleNamespace(content=content)
    return RequestBody(request, limit, timeout, patience)


async def test_the_header_goes_out_before_the_first_byte_has_come(content: StreamReader) -> None:
    writer: Any = Writer()
    writing = asyncio.ensure_future(body(content).write(writer))
    await asyncio.sleep(0)
    assert writer.headers_sent and writer.written == b""
    content.feed_data(b"a")
    content.feed_eof()
    await writing
    assert writer.written == b"a"


@pytest.mark.parametrize(("size", "code"), [(100, None), (101, "body_too_large")])
async def test_the_limit(size: int, code: str | None, content: StreamReader) -> None:
    content.feed_data(b"x" * size)
    content.feed_eof()
    sending, writer = body(content), Writer()
    if code is None:
        await sending.write(writer)  # type: ignore[arg-type]
        return
    with pytest.raises(ClientError, match=code):
        await sending.write(writer)  # type: ignore[arg-type]
    assert sending.problem is not None and sending.problem.status == 413


async def test_a_client_that_pauses_too_long_is_the_one_to_blame(content: StreamReader) -> None:
    sending = body(content, timeout=0.02)
    with pytest.raises(ClientError, match="body_timeout"):
        await sending.write(Writer())  # type: ignore[arg-type]
    assert sending.problem is not None and sending.problem.status == 408


async def test_an_upstream_that_takes_nothing_is_not_waited_for(content: StreamReader) -> None:
    content.feed_data(b"x")
    sending = body(content, patience=0.02)
    with pytest.raises(TimeoutError):
        await sending.write(Writer(deaf=True))  # type: ignore[arg-type]
    assert sending.problem is None


async def test_a_client_that_breaks_off_is_told_apart(content: StreamReader) -> None:
    content.set_exception(ConnectionResetError())
    sending = body(content)
    with pytest.raises(ClientError, match="bad_request"):
        await sending.write(Writer())  # type: ignore[arg-type]

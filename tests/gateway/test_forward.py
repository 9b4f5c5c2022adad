"""What goes to an upstream, and what of its answer is believed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from aiohttp.streams import StreamReader

from gateway.accept import Forwarded, Incoming
from gateway.errors import UpstreamError
from gateway.forward import Forwarder, UpstreamConnection, checked_fields
from gateway.headers import Field
from gateway.settings import Upstream
from policies.target import canonical

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def test_the_clients_helpfulness_is_off() -> None:
    """These are private names of aiohttp: an upgrade that renames them must not pass unseen."""
    forwarder = Forwarder({}, "tollway-1", 1000)
    await forwarder.open()
    session = forwarder._session
    assert session is not None and session._retry_connection is False
    assert isinstance(session.connector, aiohttp.TCPConnector)
    assert isinstance(session.connector._factory(), UpstreamConnection)
    async with aiohttp.ClientSession() as plain:
        assert plain._retry_connection is True and hasattr(plain.connector, "_factory")
    await forwarder.close()


def header(
    *fields: Field, host: str = "gw.test", trusted: bool = False, method: str = "GET", **upstream: Any
) -> dict[str, str]:
    raw: Any = SimpleNamespace(content_length=None)
    origin = Forwarded("203.0.113.9", "http", host, trusted)
    incoming = Incoming(raw, method, canonical("/x"), host, fields, origin, "id-1")
    known = {"timeout": 1.0, "connect_timeout": 1.0, "host": "upstream", "headers": {}, **upstream}
    target = Upstream(name="api", url="http://api.test:9000/base", **known)
    return dict(Forwarder({}, "tollway-1", 1000)._header(incoming, target, None, ()))


def test_the_host() -> None:
    assert header()["Host"] == "api.test:9000"
    assert header(host="preserve-me") == {**header(), "X-Forwarded-Host": "preserve-me"}
    assert header(host="gw.test")["X-Forwarded-Host"] == "gw.test"


def test_a_client_without_a_host() -> None:
    """HTTP/1.0: even ``host: preserve`` has nothing to preserve."""
    sent = header(host="")
    assert sent["Host"] == "api.test:9000" and "X-Forwarded-Host" not in sent


def test_a_trusted_peers_other_fields_pass() -> None:
    fields = [(b"X-Forwarded-Port", b"443"), (b"X-Forwarded-For", b"1.2.3.4"), (b"Forwarded", b"for=1.2.3.4")]
    assert header(*fields, trusted=True)["X-Forwarded-Port"] == "443"
    assert header(*fields, trusted=True)["X-Forwarded-For"] == "203.0.113.9"
    assert "Forwarded" not in header(*fields, trusted=True)
    assert "X-Forwarded-Port" not in header(*fields)


def answer(*fields: Field, status: int = 200) -> Any:
    return SimpleNamespace(status=status, raw_headers=fields)


@pytest.mark.parametrize(
    "fields",
    [
        [(b"Content-Length", b"1"), (b"Content-Length", b"2")],
        [(b"Transfer-Encoding", b"gzip, chunked")],
        [(b"Transfer-Encoding", b"chunked"), (b"Transfer-Encoding", b"chunked")],
        [(b"X-A", b"a\x00b")],
        [(b"X-A", b"a\rb")],
        [(b"X A", b"b")],
        [(b"", b"b")],
    ],
)
def test_an_answer_without_one_meaning_is_broken(fields: Sequence[Field]) -> None:
    with pytest.raises(UpstreamError, match="upstream_invalid"):
        checked_fields(answer(*fields))


@pytest.mark.parametrize("status", [101, 199, 600, 999])
def test_a_status_nobody_knows_is_broken(status: int) -> None:
    with pytest.raises(UpstreamError, match="upstream_invalid"):
        checked_fields(answer(status=status))


class Upstreams:
    """The transport of a connection, which only can be closed."""

    closed = False

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def get_extra_info(self, name: str) -> None:
        return None


@pytest.fixture
async def connection() -> UpstreamConnection:
    made = UpstreamConnection(asyncio.get_running_loop())
    made.connection_made(Upstreams())  # type: ignore[arg-type]
    made.set_response_params(read_until_eof=True, auto_decompress=False)
    return made


async def content(connection: UpstreamConnection) -> StreamReader:
    """What the answer that has come carries."""
    _, payload = await connection.read()
    return payload


async def test_one_answer_is_taken(connection: UpstreamConnection) -> None:
    connection.data_received(ANSWER)
    assert await (await content(connection)).read() == b"ok" and not connection.should_close


async def test_a_second_answer_is_not(connection: UpstreamConnection) -> None:
    connection.data_received(ANSWER + ANSWER)
    assert await (await content(connection)).read() == b"ok"
    assert connection.should_close and len(connection) == 0


async def test_a_late_byte_ends_the_connection(connection: UpstreamConnection) -> None:
    connection.data_received(ANSWER)
    assert connection.is_connected()
    connection.data_received(b"\n")
    assert not connection.is_connected()


async def test_interim_answers_are_not_the_answer(connection: UpstreamConnection) -> None:
    connection.data_received(b"HTTP/1.1 103 Early Hints\r\n\r\n")
    connection.data_received(ANSWER)
    assert (await connection.read())[0].code == 103
    assert await (await content(connection)).read() == b"ok" and connection.is_connected()


async def test_content_that_turns_malformed_is_told_to_its_reader(connection: UpstreamConnection) -> None:
    connection.data_received(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")
    payload = await content(connection)
    assert await payload.readany() == b"ok"
    connection.data_received(b"zz\r\n")
    with pytest.raises(aiohttp.ClientPayloadError):
        async with asyncio.timeout(1):
            await payload.readany()

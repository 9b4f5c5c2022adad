"""Upgrades: a tunnel on free routes, an ordinary request on priced ones, never another HTTP."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import aiohttp
import pytest
from kit.anvil import Anvil
from kit.deployment import Deployment, deployed
from kit.dialogue import BareUpstream, Dialogue, Speaker, request
from kit.process import open_files, resident
from kit.upstream_answers import websocket_echo

# Memory and descriptors are counted: an executed gateway's.
pytestmark = pytest.mark.usefixtures("executed")

FundedAccount = Callable[..., Any]
MEGABYTE = 1 << 20
UPGRADE = {"Connection": "Upgrade", "Upgrade": "websocket"}
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-Mine: 1\r\n\r\n"


@pytest.fixture(scope="module")
def bare() -> Iterator[BareUpstream]:
    with BareUpstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def handmade(
    anvil: Anvil, bare: BareUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    sections = {"upstreams": {"api": {"url": bare.url, "timeout": "1s"}}}
    with deployed(anvil, tmp_path_factory.mktemp("gateway"), **sections) as deployment:
        yield deployment
        assert "Traceback" not in deployment.gateway.logs()


@pytest.fixture
def client(handmade: Deployment) -> Iterator[Dialogue]:
    with Dialogue(handmade.url) as dialogue:
        yield dialogue


@pytest.fixture
def tunnel(client: Dialogue, bare: BareUpstream) -> Iterator[Speaker]:
    """The upstream's end of an open tunnel."""
    client.say(request("GET", "/free/ws", UPGRADE))
    with bare.accept() as upstream:
        upstream.until(b"\r\n\r\n")
        upstream.say(SWITCH)
        assert client.head().status == 101
        yield upstream


async def test_a_websocket_client_talks_to_a_websocket_server(single: Deployment) -> None:
    single.upstream.on("/free/ws", websocket_echo())
    async with aiohttp.ClientSession() as session, session.ws_connect(single.url + "/free/ws") as socket:
        for word in ("hello", "", "x" * 125):
            await socket.send_str(word)
            assert await socket.receive_str(timeout=5) == word
        await socket.send_bytes(bytes(range(100)))
        assert await socket.receive_bytes(timeout=5) == bytes(range(100))
    got = single.upstream.last("/free/ws")
    assert got.header("Upgrade") == "websocket" and got.header("Connection") == "Upgrade"
    assert got.header("X-Forwarded-For") == "127.0.0.1" and got.header("Sec-WebSocket-Version") == "13"


def test_the_heads_of_an_upgrade(client: Dialogue, bare: BareUpstream) -> None:
    client.say(
        request("GET", "/free/ws", {**UPGRADE, "X-Tollway-Payer": "me", "Sec-WebSocket-Protocol": "chat"})
    )
    with bare.accept() as upstream:
        asked = upstream.until(b"\r\n\r\n")
        assert b"Upgrade: websocket\r\n" in asked and b"Connection: Upgrade\r\n" in asked
        assert b"Sec-WebSocket-Protocol: chat\r\n" in asked and b"Payer" not in asked
        upstream.say(SWITCH)
        head = client.head()
    assert (head.status, head["Upgrade"], head["Connection"], head["X-Mine"]) == (
        101,
        "websocket",
        "Upgrade",
        "1",
    )


def test_bytes_pass_both_ways_as_they_are(client: Dialogue, tunnel: Speaker) -> None:
    for _ in range(3):
        client.say(b"\x00GET / HTTP/1.1\r\n\r\n\xff")
        assert tunnel.exactly(20) == b"\x00GET / HTTP/1.1\r\n\r\n\xff"
        tunnel.say(b"0\r\n\r\n\xfe")
        assert client.exactly(6) == b"0\r\n\r\n\xfe"


def test_bytes_sent_right_behind_the_upgrade_arrive(client: Dialogue, bare: BareUpstream) -> None:
    client.say(request("GET", "/free/ws", UPGRADE) + b"early")
    with bare.accept() as upstream:
        upstream.until(b"\r\n\r\n")
        upstream.say(SWITCH + b"greeting")
        assert client.head().status == 101 and client.exactly(8) == b"greeting"
        assert upstream.exactly(5) == b"early"


def test_a_tunnel_outlives_the_timeout(client: Dialogue, tunnel: Speaker) -> None:
    assert tunnel.silent(1.5)
    client.say(b"still here")
    assert tunnel.exactly(10) == b"still here"


@pytest.mark.parametrize("way", ["closes", "resets"])
@pytest.mark.parametrize("side", ["client", "upstream"])
def test_one_side_ends_both(side: str, way: str, client: Dialogue, tunnel: Speaker) -> None:
    ends, other = (client, tunnel) if side == "client" else (tunnel, client)
    ends.say(b"last words")
    if way == "closes":
        ends.socket.close()
        assert other.exactly(10) == b"last words"
    else:
        other.exactly(10)
        ends.hang_up()
    assert other.closed(2)


def test_a_side_that_does_not_read_holds_back_the_other(
    client: Dialogue, tunnel: Speaker, handmade: Deployment
) -> None:
    before = resident(handmade.gateway.pid)
    data = os.urandom(MEGABYTE)
    sent = fill(tunnel, data)
    assert sent < 64 * MEGABYTE and resident(handmade.gateway.pid) - before < 24 * MEGABYTE
    stream = data * (sent // MEGABYTE + 1)
    assert client.exactly(sent) == stream[:sent], "and nothing is lost or doubled"
    tunnel.say(b"more")
    assert client.exactly(4) == b"more"


def fill(speaker: Speaker, data: bytes) -> int:
    """Sends until nothing is taken for a moment; how much was."""
    speaker.socket.settimeout(0.5)
    sent = 0
    try:
        while True:
            at = sent % len(data)
            sent += speaker.socket.send(data[at : at + 65536])
    except TimeoutError:
        return sent
    finally:
        speaker.socket.settimeout(10)


def test_no_descriptor_is_left_behind(handmade: Deployment, bare: BareUpstream) -> None:
    def once() -> None:
        with Dialogue(handmade.url) as client:
            client.say(request("GET", "/free/ws", UPGRADE))
            with bare.accept() as upstream:
                upstream.until(b"\r\n\r\n")
                upstream.say(SWITCH)
                client.head()
                client.socket.close()
                assert upstream.closed(2)

    once()
    before = open_files(handmade.gateway.pid)
    for _ in range(10):
        once()
    assert open_files(handmade.gateway.pid) <= before + 1


def test_a_refused_upgrade_is_an_ordinary_answer(client: Dialogue, bare: BareUpstream) -> None:
    client.say(request("GET", "/free/ws", UPGRADE) + request("GET", "/nowhere"))
    with bare.accept() as upstream:
        upstream.until(b"\r\n\r\n")
        upstream.say(
            b"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 2\r\nSec-WebSocket-Version: 13\r\n\r\nno"
        )
        answer = client.whole()
        assert (answer.status, answer.body, answer.head["Sec-WebSocket-Version"]) == (426, b"no", "13")
    assert client.whole().status == 404, "what was sent behind it is a request"


def test_other_protocols_pass_too(client: Dialogue, bare: BareUpstream) -> None:
    client.say(request("GET", "/free/chat", {"Connection": "upgrade", "Upgrade": "IRC/6.9, RTA/x11"}))
    with bare.accept() as upstream:
        assert b"Upgrade: IRC/6.9, RTA/x11\r\n" in upstream.until(b"\r\n\r\n")
        upstream.say(b"HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: IRC/6.9\r\n\r\nhi")
        assert client.head()["Upgrade"] == "IRC/6.9" and client.exactly(2) == b"hi"
        client.say(b"ho")
        assert upstream.exactly(2) == b"ho"


@pytest.mark.parametrize("token", ["h2c", "H2C", "websocket, h2c", "HTTP/2.0", "TLS/1.0", "HTTP/1.1"])
def test_an_upgrade_to_another_http_is_not_passed_on(
    token: str, client: Dialogue, bare: BareUpstream
) -> None:
    """In such a tunnel paid paths could be asked for unseen."""
    client.say(request("GET", "/free/x", {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": token}))
    with bare.accept() as upstream:
        assert b"pgrade" not in upstream.until(b"\r\n\r\n")
        upstream.say(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        assert client.whole().body == b"ok"


def test_a_body_behind_an_upgrade_is_a_body(client: Dialogue, bare: BareUpstream) -> None:
    """As curl --http2 sends it; it must neither be lost nor be read as the next request."""
    smuggled = request("GET", "/free/smuggled")
    for token in ("h2c", "websocket"):
        with Dialogue(client_url(client)) as other:
            other.say(request("POST", "/free/x", {"Connection": "Upgrade", "Upgrade": token}, smuggled))
            with bare.accept() as upstream:
                upstream.until(b"\r\n\r\n")
                assert upstream.exactly(len(smuggled)) == smuggled
                upstream.say(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                assert other.whole().body == b"ok"
                assert other.silent(0.2) or other.closed(0.2), "one request, one answer"


def client_url(client: Dialogue) -> str:
    host, port = client.socket.getpeername()
    return f"http://{host}:{port}"


def test_http_1_0_cannot_upgrade(client: Dialogue, bare: BareUpstream) -> None:
    client.say(request("GET", "/free/x", UPGRADE, version="1.0"))
    with bare.accept() as upstream:
        assert b"pgrade" not in upstream.until(b"\r\n\r\n")
        upstream.say(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        assert client.whole().body == b"ok"


def test_an_unasked_101_is_a_broken_answer(client: Dialogue, bare: BareUpstream) -> None:
    client.ask("GET", "/free/x")
    with bare.accept() as upstream:
        upstream.until(b"\r\n\r\n")
        upstream.say(SWITCH)
        assert client.whole().status == 502


def test_an_upgrade_that_is_not_answered_is_504(client: Dialogue, bare: BareUpstream) -> None:
    client.say(request("GET", "/free/ws", UPGRADE))
    with bare.accept() as upstream:
        upstream.until(b"\r\n\r\n")
        assert client.whole().status == 504


@pytest.mark.parametrize("token", ["websocket", "h2c", "IRC/6.9"])
def test_on_a_priced_route_it_is_dropped(
    token: str, single: Deployment, funded_account: FundedAccount
) -> None:
    upgrade = {"Connection": "Upgrade", "Upgrade": token}
    with Dialogue(single.url) as client:
        assert client.say(request("GET", "/v1/x", upgrade)).whole().status == 402
    payment = single.sign("/v1/x", funded_account()).headers
    with Dialogue(single.url) as client:
        assert client.say(request("GET", "/v1/x", {**upgrade, **payment})).whole().status == 200
    assert b"pgrade" not in single.upstream.last("/v1/x").raw

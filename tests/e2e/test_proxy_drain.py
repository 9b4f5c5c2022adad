"""SIGTERM: what has begun is finished, nobody new is let in, and the process ends by itself."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kit.anvil import Anvil
from kit.deployment import PRICE, Deployment, deployed
from kit.dialogue import BareUpstream, Dialogue, request
from kit.upstream_answers import held

FundedAccount = Callable[..., Any]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture
def bare() -> Iterator[BareUpstream]:
    with BareUpstream() as upstream:
        yield upstream


@pytest.fixture
def handmade(anvil: Anvil, bare: BareUpstream, tmp_path: Any) -> Iterator[Deployment]:
    sections = {"upstreams": {"api": {"url": bare.url}}, "server": {"drain_timeout": "10s"}}
    with deployed(anvil, tmp_path, **sections) as deployment:
        yield deployment
        assert "Traceback" not in deployment.gateway.logs()


def terminate(deployment: Deployment) -> None:
    """SIGTERM, and until nobody new is let in."""
    os.kill(deployment.gateway.pid, signal.SIGTERM)
    for _ in range(200):
        try:
            Dialogue(deployment.url).socket.close()
        except ConnectionRefusedError:
            return
        threading.Event().wait(0.02)
    raise AssertionError("new connections are still accepted")


def test_a_slow_upload_is_finished(handmade: Deployment, bare: BareUpstream) -> None:
    with Dialogue(handmade.url) as client:
        client.say(request("POST", "/free/up", {"Content-Length": "6"}) + b"abc")
        with bare.accept() as upstream:
            upstream.until(b"abc")
            terminate(handmade)
            client.say(b"def")
            assert upstream.exactly(3) == b"def"
            upstream.say(OK)
            answer = client.whole()
    assert answer.body == b"ok" and answer.head["Connection"] == "close"
    assert handmade.gateway.wait() == 0


def test_a_stream_is_finished(handmade: Deployment, bare: BareUpstream) -> None:
    with Dialogue(handmade.url) as client:
        client.ask("GET", "/free/sse")
        with bare.accept() as upstream:
            upstream.until(b"\r\n\r\n")
            upstream.say(b"HTTP/1.1 200 OK\r\n\r\none")
            client.head()
            assert client.chunk() == b"one"
            terminate(handmade)
            upstream.say(b"two")
            assert client.chunk() == b"two"
        assert client.chunk() == b"" and client.closed()
    assert handmade.gateway.wait() == 0


def test_a_paid_request_is_finished_and_settled(single: Deployment, funded_account: FundedAccount) -> None:
    word = threading.Event()
    single.upstream.on("/v1/slow", held(word))
    payment = single.sign("/v1/slow", funded_account()).headers
    with Dialogue(single.url) as client:
        client.say(request("GET", "/v1/slow", payment))
        single.upstream.wait_for(1, "/v1/slow")
        terminate(single)
        word.set()
        answer = client.whole()
    assert answer.status == 200 and "PAYMENT-RESPONSE" in answer.head and answer.head["Connection"] == "close"
    assert single.gateway.wait() == 0 and single.earned() == PRICE


def test_idle_connections_are_closed(handmade: Deployment) -> None:
    with Dialogue(handmade.url) as idle, Dialogue(handmade.url) as used:
        assert used.ask("GET", "/nowhere").whole().status == 404
        terminate(handmade)
        assert idle.closed(3) and used.closed(3)
    assert handmade.gateway.wait(5) == 0


def test_a_tunnel_that_does_not_end_is_cut_at_the_deadline(
    anvil: Anvil, bare: BareUpstream, tmp_path: Any
) -> None:
    sections = {"upstreams": {"api": {"url": bare.url}}, "server": {"drain_timeout": "1s"}}
    with deployed(anvil, tmp_path, **sections) as deployment, Dialogue(deployment.url) as client:
        client.say(request("GET", "/free/ws", {"Connection": "Upgrade", "Upgrade": "websocket"}))
        with bare.accept() as upstream:
            upstream.until(b"\r\n\r\n")
            upstream.say(b"HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
            assert client.head().status == 101
            terminate(deployment)
            client.say(b"still")
            assert upstream.exactly(5) == b"still"
            assert client.closed(5) and upstream.closed(5)
        assert deployment.gateway.wait(10) == 0
        assert "Traceback" not in deployment.gateway.logs()

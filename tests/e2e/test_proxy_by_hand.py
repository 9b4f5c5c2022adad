"""Free routes stream: the test itself is the client and the upstream."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from kit.anvil import Anvil
from kit.deployment import Deployment, deployed
from kit.dialogue import BareUpstream, Dialogue, request

MEGABYTE = 1 << 20


@pytest.fixture(scope="module")
def bare() -> Iterator[BareUpstream]:
    with BareUpstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def handmade(
    anvil: Anvil, bare: BareUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    """Answers only as the test says."""
    sections = {
        "upstreams": {"api": {"url": bare.url, "timeout": "1s"}},
        "server": {"max_request_body": "200MiB"},
    }
    with deployed(anvil, tmp_path_factory.mktemp("gateway"), **sections) as deployment:
        yield deployment
        assert "Traceback" not in deployment.gateway.logs()


def test_an_upstream_that_does_not_take_the_body_is_504(handmade: Deployment, bare: BareUpstream) -> None:
    """Nothing bounds the wait otherwise: no byte moves in either direction."""
    with Dialogue(handmade.url) as client:
        client.say(request("POST", "/free/deaf", {"Content-Length": str(50 * MEGABYTE)}))
        pouring = threading.Thread(target=pour, args=(client, 50))
        pouring.start()
        with bare.accept() as upstream:
            assert client.whole().status == 504
            upstream.hang_up()
        pouring.join()


def pour(client: Dialogue, megabytes: int) -> None:
    try:
        for _ in range(megabytes):
            client.say(b"x" * MEGABYTE)
    except OSError:
        return


def test_a_slow_upload_may_last_longer_than_the_timeout(handmade: Deployment, bare: BareUpstream) -> None:
    """The upstream owes an answer once it has the request, not before."""
    with Dialogue(handmade.url) as client:
        client.say(request("POST", "/free/slow", {"Content-Length": "6"}))
        with bare.accept() as upstream:
            upstream.until(b"\r\n\r\n")
            for _ in range(6):
                client.say(b"x")
                assert upstream.exactly(1) == b"x"
                client.silent(0.3)
            upstream.say(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            assert client.whole().body == b"ok"


@pytest.mark.parametrize("phase", ["before the head", "in the stream"])
def test_a_client_that_hangs_up_ends_the_upstreams_work(
    phase: str, handmade: Deployment, bare: BareUpstream
) -> None:
    """Although the upstream says nothing that could fail to be passed on."""
    client = Dialogue(handmade.url).ask("GET", "/free/gone")
    with bare.accept() as upstream:
        upstream.until(b"\r\n\r\n")
        if phase == "in the stream":
            upstream.say(b"HTTP/1.1 200 OK\r\n\r\n")
            client.head()
        client.hang_up()
        assert upstream.closed(0.7), "before the timeout could have done it"


def test_a_client_that_hangs_up_in_its_upload_ends_the_upstreams_request(
    handmade: Deployment, bare: BareUpstream
) -> None:
    client = Dialogue(handmade.url).say(request("POST", "/free/cut", {"Content-Length": "1000"}) + b"half")
    with bare.accept() as upstream:
        upstream.until(b"half")
        client.hang_up()
        assert upstream.closed(0.7)


def test_an_early_answer_is_passed_on_while_the_body_still_comes(
    handmade: Deployment, bare: BareUpstream
) -> None:
    with Dialogue(handmade.url) as client:
        client.say(request("POST", "/free/early", {"Content-Length": str(MEGABYTE)}) + b"x" * 1000)
        with bare.accept() as upstream:
            upstream.until(b"x")
            upstream.say(b"HTTP/1.1 403 No\r\nContent-Length: 3\r\n\r\nno!")
            answer = client.whole()
            assert (answer.status, answer.body) == (403, b"no!") and answer.head["Connection"] == "close"
            assert b"x" in upstream.rest(), "this connection carries half a request: it is used no more"


def test_an_upstream_may_talk_back_while_it_listens(handmade: Deployment, bare: BareUpstream) -> None:
    with Dialogue(handmade.url) as client:
        client.say(request("POST", "/free/echo", {"Transfer-Encoding": "chunked"}))
        with bare.accept() as upstream:
            upstream.until(b"\r\n\r\n")
            upstream.say(b"HTTP/1.1 200 OK\r\n\r\n")
            assert client.head().status == 200
            for word in (b"abc", b"def"):
                client.say(b"3\r\n" + word + b"\r\n")
                upstream.say(upstream.until(word)[-3:])
                assert client.chunk() == word
                upstream.until(b"\r\n")

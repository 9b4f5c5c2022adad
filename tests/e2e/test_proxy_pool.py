"""Connections to the upstream: reused, never with a second send, and nothing done behind one's back."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kit.anvil import Anvil
from kit.deployment import Deployment, deployed
from kit.dialogue import BareUpstream, Dialogue, Speaker, request
from kit.gateway import plain_config
from kit.upstream import Upstream
from kit.upstream_answers import ok_bytes, raw

FundedAccount = Callable[..., Any]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
METHODS = pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "POST", "OPTIONS"])


@pytest.fixture(scope="module")
def bare() -> Iterator[BareUpstream]:
    with BareUpstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def handmade(
    anvil: Anvil, bare: BareUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    upstreams = {"api": {"url": bare.url, "timeout": "2s", "connect_timeout": "500ms"}}
    with deployed(anvil, tmp_path_factory.mktemp("gateway"), upstreams=upstreams) as deployment:
        yield deployment
        assert "Traceback" not in deployment.gateway.logs()


@pytest.fixture
def client(handmade: Deployment) -> Iterator[Dialogue]:
    with Dialogue(handmade.url) as dialogue:
        yield dialogue


@pytest.fixture
def warm(client: Dialogue, bare: BareUpstream) -> Iterator[Speaker]:
    """A kept-alive connection to the upstream that has carried one exchange."""
    client.ask("GET", "/free/warm")
    with bare.accept() as upstream:
        upstream.until(b"\r\n\r\n")
        upstream.say(OK)
        assert client.whole().body == b"ok"
        yield upstream


def test_a_connection_is_reused(client: Dialogue, warm: Speaker) -> None:
    for _ in range(3):
        client.ask("GET", "/free/again")
        assert warm.until(b"\r\n\r\n").startswith(b"GET /free/again ")
        warm.say(OK)
        assert client.whole().body == b"ok"


@METHODS
def test_a_request_that_died_with_its_connection_is_not_sent_again(
    method: str, client: Dialogue, warm: Speaker, bare: BareUpstream
) -> None:
    """It may have been executed: the upstream took it and closed without an answer."""
    client.ask(method, "/free/once", b"" if method in ("GET", "HEAD") else b"body")
    warm.until(b"\r\n\r\n")
    warm.socket.close()
    assert client.whole(method).status == 502
    assert bare.quiet(0.3), "nobody asks again"


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "POST"])
def test_nor_is_a_paid_one(
    method: str,
    client: Dialogue,
    handmade: Deployment,
    warm: Speaker,
    bare: BareUpstream,
    funded_account: FundedAccount,
) -> None:
    payment = handmade.sign("/v1/once", funded_account(), method=method)
    client.say(request(method, "/v1/once", payment.headers))
    warm.until(b"\r\n\r\n")
    warm.hang_up()
    assert client.whole(method).status == 502
    assert bare.quiet(0.3) and handmade.earned() == 0


def test_a_connection_the_upstream_closed_meanwhile_is_not_used(
    client: Dialogue, warm: Speaker, bare: BareUpstream
) -> None:
    warm.socket.close()
    client.silent(0.2)
    client.ask("GET", "/free/fresh")
    with bare.accept() as fresh:
        fresh.until(b"\r\n\r\n")
        fresh.say(OK)
        assert client.whole().body == b"ok"


def test_a_connection_with_bytes_nobody_asked_for_is_not_used(
    client: Dialogue, warm: Speaker, bare: BareUpstream
) -> None:
    """A second answer behind the first must not become somebody else's."""
    warm.say(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged")
    client.silent(0.2)
    client.ask("GET", "/free/fresh")
    with bare.accept() as fresh:
        fresh.until(b"\r\n\r\n")
        fresh.say(OK)
        assert client.whole().body == b"ok"


def test_a_second_answer_right_behind_the_first_is_nobodys(
    client: Dialogue, warm: Speaker, bare: BareUpstream
) -> None:
    client.ask("GET", "/free/two")
    warm.until(b"\r\n\r\n")
    warm.say(OK + b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged")
    assert client.whole().body == b"ok"
    client.ask("GET", "/free/fresh")
    with bare.accept() as fresh:
        fresh.until(b"\r\n\r\n")
        fresh.say(OK)
        assert client.whole().body == b"ok"


@pytest.mark.parametrize("late", [OK, b"body", b"\r\n"], ids=repr)
def test_a_head_answer_with_a_late_body_is_not_somebody_elses(
    late: bytes, client: Dialogue, warm: Speaker, bare: BareUpstream
) -> None:
    client.ask("HEAD", "/free/head")
    warm.until(b"\r\n\r\n")
    warm.say(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")
    assert client.whole("HEAD").status == 200
    warm.say(late)
    client.silent(0.2)
    client.ask("GET", "/free/fresh")
    with bare.accept() as fresh:
        fresh.until(b"\r\n\r\n")
        fresh.say(OK)
        assert client.whole().body == b"ok"


def test_an_answer_cut_short_by_its_reader_is_not_continued(
    handmade: Deployment, client: Dialogue, warm: Speaker, bare: BareUpstream
) -> None:
    client.ask("GET", "/free/cut")
    warm.until(b"\r\n\r\n")
    warm.say(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
    client.head()
    client.hang_up()
    assert warm.closed(2)


def test_nobody_there_is_502(client: Dialogue, handmade: Deployment, tmp_path: Any, anvil: Anvil) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        upstreams = {"api": {"url": f"http://127.0.0.1:{port}"}}
        with deployed(anvil, tmp_path, upstreams=upstreams) as deployment, Dialogue(deployment.url) as other:
            answer = other.ask("GET", "/free/x").whole()
    assert answer.status == 502 and b"upstream_unreachable" in answer.body


def test_cookies_are_nobodys(single: Deployment) -> None:
    single.upstream.on("/free/login", ok_bytes(b"hi", headers=(("Set-Cookie", "sid=alice; Path=/"),)))
    for _ in range(2):
        with Dialogue(single.url) as client:
            assert client.ask("GET", "/free/login").whole().head["Set-Cookie"] == "sid=alice; Path=/"
    assert single.upstream.last().header("Cookie") is None


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_passed_on(status: int, single: Deployment, funded_account: FundedAccount) -> None:
    head = (
        f"HTTP/1.1 {status} X\r\nLocation: {single.upstream.url}/free/elsewhere\r\nContent-Length: 0\r\n\r\n"
    )
    for path in ("/free/moved", "/v1/moved"):
        single.upstream.on(path, raw(head.encode(), keep=True))
        payment = single.sign(path, funded_account()).headers if path.startswith("/v1") else {}
        with Dialogue(single.url) as client:
            answer = client.say(request("GET", path, payment)).whole()
        assert answer.status == status and answer.head["Location"].endswith("/free/elsewhere")
    assert single.upstream.count("/free/elsewhere") == 0 and single.earned() == 0


def test_no_proxy_is_taken_from_the_environment(
    anvil: Anvil, start_gateway: Callable[..., Any], upstream: Upstream
) -> None:
    nowhere = dict.fromkeys(("HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    config = plain_config(
        upstream=upstream.url, rpc=anvil.url, pay_to=anvil.accounts[0].address, key=anvil.accounts[1].key
    )
    gateway = start_gateway(config, nowhere)
    with Dialogue(gateway.url) as client:
        assert client.ask("GET", "/free/x").whole().status == 200
    assert upstream.count("/free/x") == 1

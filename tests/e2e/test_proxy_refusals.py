"""Requests that are too large, too slow, cut short, or have no single meaning."""

from __future__ import annotations

import pytest
from kit.deployment import Deployment
from kit.dialogue import Dialogue, request
from kit.proxied import BOTH, Pay


@BOTH
def test_a_body_above_the_limit_is_413(path: str, plain: Deployment, client: Dialogue, pay: Pay) -> None:
    client.ask("POST", path, Content_Length=str((64 << 10) + 1), **pay(path, "POST"))
    answer = client.whole()
    assert answer.status == 413 and b"body_too_large" in answer.body and answer.head["Connection"] == "close"
    assert client.closed() and plain.upstream.count(path) == 0


@BOTH
def test_chunks_above_the_limit_are_413(path: str, plain: Deployment, client: Dialogue, pay: Pay) -> None:
    client.say(request("POST", path, {**pay(path, "POST"), "Transfer-Encoding": "chunked"}))
    for _ in range(9):
        client.say(b"2000\r\n" + b"x" * 0x2000 + b"\r\n")
    answer = client.whole()
    assert answer.status == 413 and b"body_too_large" in answer.body
    assert plain.upstream.count(path) == 0, "never complete there"


@BOTH
@pytest.mark.parametrize("body", [b"", b"ab", b"a"], ids=len)
def test_a_slow_body_is_408(body: bytes, path: str, plain: Deployment, client: Dialogue, pay: Pay) -> None:
    client.say(request("POST", path, {**pay(path, "POST"), "Content-Length": "5"}) + body)
    answer = client.whole()
    assert answer.status == 408 and b"body_timeout" in answer.body and answer.head["Connection"] == "close"
    assert plain.upstream.count(path) == 0


@BOTH
@pytest.mark.parametrize(
    "framing", ["Content-Length: 5\r\n\r\nhel", "Transfer-Encoding: chunked\r\n\r\n5\r\nhel"]
)
def test_a_body_that_ends_early_is_not_passed_off_as_whole(
    framing: str, path: str, plain: Deployment, client: Dialogue, pay: Pay
) -> None:
    head = request("POST", path, pay(path, "POST"))[:-2]
    client.say(head + framing.encode()).half_close()
    assert client.whole().status == 400 and client.closed() and plain.upstream.count(path) == 0


@BOTH
def test_chunks_that_turn_malformed_are_400(path: str, plain: Deployment, client: Dialogue, pay: Pay) -> None:
    client.say(
        request("POST", path, {**pay(path, "POST"), "Transfer-Encoding": "chunked"}) + b"5\r\nhello\r\n"
    )
    client.silent(0.1)
    client.say(b"zz\r\n")
    assert client.whole().status == 400 and client.closed() and plain.upstream.count(path) == 0


def test_what_a_refused_client_goes_on_to_send_does_not_matter(client: Dialogue) -> None:
    client.say(request("POST", "/nowhere", {"Transfer-Encoding": "chunked"}) + b"5\r\nhello\r\n")
    assert client.whole().status == 404
    client.say(b"zz\r\n")
    assert client.closed()


@BOTH
@pytest.mark.parametrize(
    "chunk", [b"zz\r\nhello\r\n", b"5\r\nhelloX\r\n0\r\n\r\n", b"-1\r\n", b"5\nhello\n0\n\n"], ids=repr
)
def test_malformed_chunks_are_400(
    chunk: bytes, path: str, plain: Deployment, client: Dialogue, pay: Pay
) -> None:
    client.say(request("POST", path, {**pay(path, "POST"), "Transfer-Encoding": "chunked"}) + chunk)
    assert client.whole().status == 400 and client.closed() and plain.upstream.count(path) == 0


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("GET /free/x HTTP/2.0\r\nHost: h\r\n\r\n", (505,)),
        ("GET /free/x HTTP/1.2\r\nHost: h\r\n\r\n", (400, 505)),
        ("GET /free/x HTTP/0.9\r\nHost: h\r\n\r\n", (400, 505)),
        ("GET /free/x\r\n\r\n", (400,)),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400, 505)),
        ("POST /free/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", (501,)),
        ("POST /free/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: identity\r\n\r\n", (400, 501)),
        (
            "POST /free/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
            (400, 501),
        ),
        ("POST /free/x HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", (400,)),
        ("POST /free/x HTTP/1.1\r\nHost: h\r\nContent-Length: +5\r\n\r\nhello", (400,)),
        ("POST /free/x HTTP/1.1\r\nHost: h\r\nContent-Length: 5, 5\r\n\r\nhello", (400,)),
        ("GET /free/x HTTP/1.1\r\n\r\n", (400,)),
        ("GET /free/x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", (400,)),
        ("GET /free/x HTTP/1.1\r\nHost: h\r\n folded: 1\r\n\r\n", (400,)),
        ("GET /free/x HTTP/1.1\r\nHost : h\r\n\r\n", (400,)),
        ("GET /free/x HTTP/1.1\r\nHost: h\r\nX: a\x01b\r\n\r\n", (400,)),
        ("GET /free/x HTTP/1.1\r\nHost: h\r\nX: a\rb\r\n\r\n", (400,)),
        ("GET * HTTP/1.1\r\nHost: h\r\n\r\n", (400,)),
    ],
    ids=repr,
)
def test_what_has_no_single_meaning_is_refused(
    head: str, status: tuple[int, ...], plain: Deployment, client: Dialogue
) -> None:
    answer = client.say(head.encode("latin-1")).whole()
    assert answer.status in status and answer.head["Content-Type"] == "application/problem+json"
    assert plain.upstream.count() == 0


def test_a_length_with_leading_zeros_is_one_number(plain: Deployment, client: Dialogue) -> None:
    answer = client.ask("POST", "/free/x", b"hello", Content_Length="0005").whole()
    assert answer.status == 400 or (
        plain.upstream.last().body,
        plain.upstream.last().header("Content-Length"),
    ) == (b"hello", "5")

"""The life of a client's connection: pipelines, keep-alive, HTTP/1.0, and who is asked to continue."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from kit.deployment import PRICE, Deployment
from kit.dialogue import Dialogue, request
from kit.proxied import BOTH, CHUNKS, Pay
from kit.python_clients import buy_httpx
from kit.upstream_answers import chunked, ok_bytes, raw

FundedAccount = Callable[..., Any]


# Connections


def test_paid_and_unpaid_requests_in_one_pipeline(plain: Deployment, client: Dialogue, pay: Pay) -> None:
    plain.upstream.on("/v1/x", ok_bytes(b"bought"))
    parts = [
        request("GET", "/v1/x"),
        request("GET", "/v1/x", pay("/v1/x")),
        request("GET", "/free/y"),
        request("POST", "/v1/x", {}, b"small"),
        request("GET", "/nowhere"),
        request("GET", "/free/z"),
    ]
    client.say(b"".join(parts))
    answers = [client.whole() for _ in parts]
    assert [each.status for each in answers] == [402, 200, 200, 402, 404, 200]
    assert answers[1].body == b"bought"


def test_three_hundred_requests_in_one_pipeline(plain: Deployment, client: Dialogue) -> None:
    client.say(b"".join(request("GET", f"/free/{number}") for number in range(300)))
    assert [client.whole().status for _ in range(300)] == [200] * 300
    assert [each.path for each in plain.upstream.received] == [f"/free/{number}" for number in range(300)]


def test_a_402_with_a_body_keeps_the_connection(plain: Deployment, client: Dialogue, pay: Pay) -> None:
    """The paying client comes back on the same connection."""
    assert client.ask("POST", "/v1/x", b"x" * 500).whole().status == 402
    assert client.ask("POST", "/v1/x", b"x" * 500, **pay("/v1/x", "POST")).whole().status == 200


@BOTH
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_connection_close_is_honoured_and_said(
    method: str, path: str, plain: Deployment, client: Dialogue, pay: Pay
) -> None:
    answer = client.ask(method, path, Connection="close", **pay(path, method)).whole(method)
    assert answer.status == 200 and answer.head["Connection"] == "close"
    assert client.closed()


@pytest.mark.parametrize("path", ["/v1/x", "/nowhere"])
def test_connection_close_on_our_own_answers(path: str, client: Dialogue) -> None:
    answer = client.ask("GET", path, Connection="close").whole()
    assert answer.status in (402, 404) and answer.head["Connection"] == "close" and client.closed()


@BOTH
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_http_1_0_closes(method: str, path: str, client: Dialogue, pay: Pay) -> None:
    answer = client.ask(method, path, version="1.0", **pay(path, method)).whole(method)
    assert answer.status == 200 and "Transfer-Encoding" not in answer.head
    assert answer.head.all("Connection") in ([], ["close"]) and client.closed()


@BOTH
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_http_1_0_may_ask_to_go_on(method: str, path: str, client: Dialogue, pay: Pay) -> None:
    for _ in range(2):
        answer = client.ask(method, path, version="1.0", Connection="keep-alive", **pay(path, method)).whole(
            method
        )
        assert answer.status == 200 and answer.head["Connection"] == "keep-alive"


@BOTH
def test_http_1_0_gets_no_chunks(path: str, plain: Deployment, client: Dialogue, pay: Pay) -> None:
    plain.upstream.on(path, chunked(b"one", b"two"))
    client.ask("GET", path, version="1.0", Connection="keep-alive", **pay(path))
    head = client.head()
    assert "Transfer-Encoding" not in head
    if "Content-Length" in head:
        assert client.exactly(int(head["Content-Length"])) == b"onetwo"
    else:
        assert head["Connection"] == "close" and client.rest() == b"onetwo"


def test_http_1_0_without_host(plain: Deployment, client: Dialogue) -> None:
    assert client.say(b"GET /free/old HTTP/1.0\r\n\r\n").whole().status == 200
    assert plain.upstream.last().header("X-Forwarded-Host") is None


def test_an_answer_that_ends_with_the_connection(plain: Deployment, client: Dialogue, pay: Pay) -> None:
    body = raw(b"HTTP/1.1 200 OK\r\n\r\nuntil ", b"the end")
    for path in ("/free/x", "/v1/x"):
        plain.upstream.on(path, body)
        assert client.ask("GET", path, **pay(path)).whole().body == b"until the end"


# Expect


@BOTH
def test_continue_is_said_once_the_credential_is_good(
    path: str, plain: Deployment, client: Dialogue, pay: Pay
) -> None:
    head = request("POST", path, {**pay(path, "POST"), "Expect": "100-continue", "Content-Length": "5"})
    assert client.say(head).head().status == 100
    assert client.say(b"hello").whole().status == 200
    got = plain.upstream.last(path)
    assert got.body == b"hello" and got.header("Expect") is None
    assert client.ask("GET", "/free/next").whole().status == 200, "the connection goes on"


@BOTH
def test_continue_and_chunks(path: str, plain: Deployment, client: Dialogue, pay: Pay) -> None:
    head = request(
        "POST", path, {**pay(path, "POST"), "Expect": "100-Continue", "Transfer-Encoding": "chunked"}
    )
    assert client.say(head).head().status == 100
    assert client.say(CHUNKS).whole().status == 200
    assert plain.upstream.last(path).body == b"hello, world"


def test_an_impatient_client_sends_its_body_at_once(plain: Deployment, client: Dialogue, pay: Pay) -> None:
    client.ask("POST", "/v1/x", b"hello", Expect="100-continue", **pay("/v1/x", "POST"))
    assert client.whole().status == 200 and plain.upstream.last().body == b"hello"


@pytest.mark.parametrize("credential", [{}, {"PAYMENT-SIGNATURE": "garbage"}], ids=["unpaid", "garbage"])
def test_nobody_is_asked_for_a_body_for_nothing(
    credential: dict[str, str], plain: Deployment, client: Dialogue
) -> None:
    head = request("POST", "/v1/x", {**credential, "Expect": "100-continue", "Content-Length": "5"})
    refused = client.say(head).head()
    assert refused.status in (400, 402) and refused["Connection"] == "close"
    client.exactly(int(refused["Content-Length"]))
    assert client.closed(1.0) and plain.upstream.count() == 0


def test_http_1_0_is_not_told_to_continue(plain: Deployment, client: Dialogue) -> None:
    """RFC 9110 section 10.1.1: such a client would take the interim answer for the final one."""
    client.ask("POST", "/free/x", b"hello", version="1.0", Expect="100-continue")
    assert client.head().status == 200 and plain.upstream.last().body == b"hello"


def test_an_unknown_expectation_fails(client: Dialogue) -> None:
    assert client.ask("GET", "/free/x", Expect="200-maybe").whole().status == 417


def test_a_large_post_with_the_official_client(single: Deployment, funded_account: FundedAccount) -> None:
    """Its first try carries the body, too: the 402 must reach it although the body is not wanted."""
    body = "x" * (9 << 20)
    answer = asyncio.run(buy_httpx(single.url + "/v1/large", funded_account().key, "POST", body))
    assert answer.status == 200 and single.upstream.last().body == body.encode()
    assert single.earned() == PRICE

"""Message framing: one message in, one message out, whichever way either side frames it."""

from __future__ import annotations

import gzip
import zlib

import pytest
from kit.deployment import Deployment
from kit.dialogue import Dialogue, request
from kit.proxied import BOTH, CHUNKS, Pay
from kit.upstream_answers import gzipped, ok_bytes, raw

# Requests


@BOTH
def test_a_chunked_body_arrives_whole_without_its_trailer(
    path: str, plain: Deployment, client: Dialogue, pay: Pay
) -> None:
    head = request(
        "POST", path, {**pay(path, "POST"), "Transfer-Encoding": "chunked", "Trailer": "X-Trailer"}
    )
    assert client.say(head + CHUNKS).whole().status == 200
    got = plain.upstream.last(path)
    assert got.body == b"hello, world" and b"X-Trailer" not in got.raw and b"ext" not in got.raw
    assert (got.header("Content-Length") is None) != (got.header("Transfer-Encoding") is None)
    assert client.ask("GET", "/free/again").whole().status == 200, "the connection goes on"


@BOTH
def test_an_empty_chunked_body(path: str, plain: Deployment, client: Dialogue, pay: Pay) -> None:
    head = request("POST", path, {**pay(path, "POST"), "Transfer-Encoding": "chunked"})
    assert client.say(head + b"0\r\n\r\n").whole().status == 200
    assert plain.upstream.last(path).body == b""
    assert client.ask("GET", "/free/again").whole().status == 200


@BOTH
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "GET"])
def test_a_body_with_its_length(
    method: str, path: str, plain: Deployment, client: Dialogue, pay: Pay
) -> None:
    assert client.ask(method, path, b"x" * 5000, **pay(path, method)).whole().status == 200
    got = plain.upstream.last(path)
    assert got.body == b"x" * 5000 and got.header("Content-Length") == "5000"
    assert got.header("Content-Type") is None


@BOTH
@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
def test_no_body(method: str, path: str, plain: Deployment, client: Dialogue, pay: Pay) -> None:
    assert client.ask(method, path, Content_Length="0", **pay(path, method)).whole().status == 200
    got = plain.upstream.last(path)
    assert got.header("Content-Length") in ("0", None) and got.header("Transfer-Encoding") is None


PACKINGS = {
    "gzip": gzip.compress(b"{}" * 99),
    "deflate": zlib.compress(b"{}" * 99),
    "br": b"\x0b\x00\x80{}\x03",
}


@BOTH
@pytest.mark.parametrize("coding", [*PACKINGS, "zstd"])
def test_an_encoded_body_is_not_decoded(
    coding: str, path: str, plain: Deployment, client: Dialogue, pay: Pay
) -> None:
    body = PACKINGS.get(coding, b"not really " + coding.encode())
    assert client.ask("POST", path, body, Content_Encoding=coding, **pay(path, "POST")).whole().status == 200
    got = plain.upstream.last(path)
    assert got.body == body and got.header("Content-Encoding") == coding


def test_a_payment_is_bound_to_the_encoded_bytes(plain: Deployment, client: Dialogue, pay: Pay) -> None:
    payment = pay("/v1/packed", "POST")
    first, second = gzip.compress(b"a", 1, mtime=0), gzip.compress(b"a", 9, mtime=1)
    assert client.ask("POST", "/v1/packed", first, Content_Encoding="gzip", **payment).whole().status == 200
    assert client.ask("POST", "/v1/packed", second, Content_Encoding="gzip", **payment).whole().status == 409


# Answers


@BOTH
def test_head_keeps_the_length_of_get_and_has_no_body(
    path: str, plain: Deployment, client: Dialogue, pay: Pay
) -> None:
    plain.upstream.on(path, ok_bytes(b"x" * 1234))
    answer = client.ask("HEAD", path, **pay(path, "HEAD")).whole("HEAD")
    assert answer.status == 200 and answer.head["Content-Length"] == "1234"
    assert client.ask("GET", "/free/next").whole().body.startswith(b"{"), "no stray body in between"


def test_head_of_a_chunked_answer(plain: Deployment, client: Dialogue) -> None:
    plain.upstream.on("/free/h", raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"))
    answer = client.ask("HEAD", "/free/h").whole("HEAD")
    assert answer.status == 200 and "Content-Length" not in answer.head
    assert client.ask("GET", "/free/next").whole().body.startswith(b"{")


def test_head_of_a_402_tells_its_length(plain: Deployment, client: Dialogue) -> None:
    answer = client.ask("HEAD", "/v1/x").whole("HEAD")
    assert (
        answer.status == 402 and int(answer.head["Content-Length"]) > 0 and "PAYMENT-REQUIRED" in answer.head
    )
    assert client.ask("GET", "/free/next").whole().status == 200


@BOTH
@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_that_has_no_body(
    status: int, path: str, plain: Deployment, client: Dialogue, pay: Pay
) -> None:
    plain.upstream.on(path, raw(b'HTTP/1.1 %d X\r\nETag: "x"\r\n\r\n' % status, keep=True))
    answer = client.ask("GET", path, **pay(path)).whole()
    assert answer.status == status and answer.head["ETag"] == '"x"'
    assert "Content-Length" not in answer.head and "Transfer-Encoding" not in answer.head
    assert client.ask("GET", "/free/next").whole().body.startswith(b"{")


@BOTH
def test_interim_answers_stay_here(path: str, plain: Deployment, client: Dialogue, pay: Pay) -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"
    plain.upstream.on(path, raw(hints + b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
    answer = client.ask("GET", path, **pay(path)).whole()
    assert (answer.status, answer.body) == (200, b"ok") and "Link" not in answer.head


@BOTH
def test_trailers_of_the_upstream_are_dropped(
    path: str, plain: Deployment, client: Dialogue, pay: Pay
) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n"
    plain.upstream.on(path, raw(head, b"2\r\nok\r\n0\r\nX-T: 1\r\nSet-Cookie: t=1\r\n\r\n"))
    answer = client.ask("GET", path, **pay(path)).whole()
    assert answer.body == b"ok" and "Trailer" not in answer.head
    assert client.ask("GET", "/free/next").whole().body.startswith(b"{")


@BOTH
@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "made-up"])
def test_an_encoded_answer_is_not_decoded(
    coding: str, path: str, plain: Deployment, client: Dialogue, pay: Pay
) -> None:
    plain.upstream.on(path, ok_bytes(b"not really", headers=(("Content-Encoding", coding),)))
    answer = client.ask("GET", path, **pay(path)).whole()
    assert answer.body == b"not really" and answer.head["Content-Encoding"] == coding


def test_gzip_streams_untouched(plain: Deployment, client: Dialogue) -> None:
    plain.upstream.on("/free/z", gzipped(b"sun " * 9999))
    assert client.ask("GET", "/free/z").whole().body == gzip.compress(b"sun " * 9999, mtime=0)

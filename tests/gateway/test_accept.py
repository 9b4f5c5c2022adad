"""What a request says of where it came from, and what it must not say."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from gateway.accept import Acceptor, Forwarded, Incoming
from gateway.errors import ClientError
from gateway.headers import Field

TRUSTED = [ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8")]


def accept(
    *fields: Field,
    peer: str = "203.0.113.9",
    path: str = "/x",
    version: tuple[int, int] = (1, 1),
    method: str = "GET",
) -> Incoming:
    decoded = [(name.decode(), value.decode(errors="surrogateescape")) for name, value in fields]
    raw: Any = SimpleNamespace(
        _message=SimpleNamespace(raw_headers=(*fields,), path=path),
        headers=CIMultiDictProxy(CIMultiDict(decoded)),
        method=method,
        version=version,
        remote=peer,
    )
    return Acceptor(TRUSTED, "tollway-1234").accept(raw, "id")


HOST = (b"Host", b"gw.test")
SAYS: Sequence[Field] = (
    (b"X-Forwarded-For", b"198.51.100.7, 10.0.0.2"),
    (b"X-Forwarded-Proto", b"HTTPS"),
    (b"X-Forwarded-Host", b"shop.example"),
)


def test_a_stranger_is_not_believed() -> None:
    assert accept(HOST, *SAYS).forwarded == Forwarded("203.0.113.9", "http", "gw.test", trusted=False)


@pytest.mark.parametrize("peer", ["10.1.2.3", "::ffff:10.1.2.3", "fd00::1", "fd00::1%eth0"])
def test_a_trusted_peer_is(peer: str) -> None:
    """An IPv4 client of a socket that listens on IPv6 is an IPv4 client; a zone is no part of an address."""
    told = accept(HOST, *SAYS, peer=peer).forwarded
    seen = peer.removeprefix("::ffff:").removesuffix("%eth0")
    assert told == Forwarded(f"198.51.100.7, 10.0.0.2, {seen}", "https", "shop.example", trusted=True)


@pytest.mark.parametrize(
    "odd",
    [
        (b"X-Forwarded-Proto", b"gopher"),
        (b"X-Forwarded-Proto", b"https, http"),
        (b"X-Forwarded-For", b" , ,"),
        (b"X-Forwarded-Host", b""),
    ],
)
def test_what_a_trusted_peer_says_oddly_is_left_out(odd: Field) -> None:
    assert accept(HOST, odd, peer="10.0.0.1").forwarded == Forwarded(
        "10.0.0.1", "http", "gw.test", trusted=True
    )


def test_several_fields_are_one_chain() -> None:
    fields = [(b"X-Forwarded-For", b"a"), (b"x-forwarded-for", b"b,c")]
    assert accept(HOST, *fields, peer="10.0.0.1").forwarded.chain == "a, b, c, 10.0.0.1"


@pytest.mark.parametrize("peer", ["", None])
def test_a_client_without_an_address(peer: Any) -> None:
    """A listener may be a unix socket."""
    assert accept(HOST, peer=peer).forwarded.chain == ""


@pytest.mark.parametrize("value", [b"\xff", b"\xc3", b"\xc3(", b"\xed\xa0\x80", b"caf\xe9"])
def test_values_that_are_not_utf8_are_refused(value: bytes) -> None:
    with pytest.raises(ClientError, match="bad_request"):
        accept(HOST, (b"X-A", value))
    with pytest.raises(ClientError, match="bad_request"):
        accept(HOST, (b"X-A", value[:1]), (b"X-B", value[1:] or b"\xa9"))


def test_values_that_are_are_not() -> None:
    assert accept(HOST, (b"X-A", "ü€😀".encode())).fields[1] == (b"X-A", "ü€😀".encode())


@pytest.mark.parametrize(("path", "query"), [("/x", None), ("/x?", ""), ("/x?a=%zz", "a=%zz")])
def test_a_bare_question_mark_is_a_query(path: str, query: str | None) -> None:
    assert accept(HOST, path=path).query == query


@pytest.mark.parametrize(
    ("fields", "version", "code"),
    [
        ((), (1, 1), "bad_host"),
        ((HOST, HOST), (1, 1), "bad_host"),
        (((b"Host", b"a b"),), (1, 1), "bad_host"),
        ((HOST,), (2, 0), "http_version"),
        ((HOST, (b"Transfer-Encoding", b"chunked")), (1, 0), "bad_request"),
        ((HOST, (b"Transfer-Encoding", b"chunked"), (b"Content-Length", b"1")), (1, 1), "bad_request"),
        ((HOST, (b"Transfer-Encoding", b"gzip, chunked")), (1, 1), "transfer_coding"),
        (
            (HOST, (b"Transfer-Encoding", b"chunked"), (b"Transfer-Encoding", b"chunked")),
            (1, 1),
            "transfer_coding",
        ),
        ((HOST, (b"Expect", b"the unexpected")), (1, 1), "expectation_failed"),
        ((HOST, (b"Via", b"1.1 a, 1.1 tollway-1234")), (1, 1), "loop_detected"),
    ],
)
def test_refusals(fields: Sequence[Field], version: tuple[int, int], code: str) -> None:
    with pytest.raises(ClientError) as refused:
        accept(*fields, version=version)
    assert refused.value.code == code


def test_an_old_client_needs_no_host() -> None:
    assert accept(version=(1, 0)).host == ""

"""What is written is one message with exactly these fields, or nothing."""

from __future__ import annotations

from typing import Any

import pytest
from httptools import HttpRequestParser
from hypothesis import given
from hypothesis import strategies as st

from facilitator.http1.errors import Unsendable
from facilitator.http1.request import encode, lines


class Read:
    """What a server reads."""

    def __init__(self, data: bytes) -> None:
        self.fields: list[tuple[bytes, bytes]] = []
        self.targets: list[bytes] = []
        self.messages = 0
        HttpRequestParser(self).feed_data(data)

    def on_url(self, url: bytes) -> None:
        self.targets.append(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value))

    def on_message_complete(self) -> None:
        self.messages += 1


TOKENS = st.text("!#$%&'*+-.^_`|~09AZaz", min_size=1).map(str.encode)
TEXTS = st.binary(max_size=20)


@given(st.lists(st.tuples(TOKENS, TEXTS), max_size=5))
def test_fields_arrive_as_they_are_or_not_at_all(fields: list[tuple[bytes, bytes]]) -> None:
    sendable = all(byte == 9 or (byte >= 32 and byte != 127) for _, value in fields for byte in value)
    if not sendable:
        with pytest.raises(Unsendable):
            lines(fields)
        return
    framing = (b"content-length", b"transfer-encoding", b"connection", b"upgrade")
    if any(name.lower() in framing for name, _ in fields):
        return
    read = Read(encode("GET", "/", lines(fields), None))
    assert [(name, value.strip(b"\t ")) for name, value in read.fields] == [
        (name, value.strip(b"\t ")) for name, value in fields
    ]
    assert read.messages == 1


@pytest.mark.parametrize("name", [b"", b"X A", b"X:", b"X\r\nY", b"X\x00", "Ä".encode(), b"X\n"])
def test_names_are_tokens(name: bytes) -> None:
    with pytest.raises(Unsendable):
        lines([(b"Fine", b"1"), (name, b"1")])


@pytest.mark.parametrize("value", [b"a\r\nX: y", b"a\n", b"\r", b"a\x00", b"\x7f", b"\r\n"])
def test_values_hold_no_control_bytes(value: bytes) -> None:
    with pytest.raises(Unsendable):
        lines([(b"X", value)])


@pytest.mark.parametrize("target", ["", "/a b", "/a\r\nX: y", "/\x00", "/ü", "/\t"])
def test_targets_are_printable(target: str) -> None:
    with pytest.raises(Unsendable):
        encode("GET", target, b"", None)


@pytest.mark.parametrize("method", ["", "G T", "GET /x HTTP/1.1\r\n", "GET\n", "GÄT"])
def test_methods_are_tokens(method: str) -> None:
    with pytest.raises(Unsendable):
        encode(method, "/", b"", None)


class Coming:
    def __init__(self, length: int | None) -> None:
        self.length = length

    async def read(self) -> bytes:
        return b""


@pytest.mark.parametrize(
    ("body", "framing"),
    [
        (None, b""),
        (b"", b"Content-Length: 0\r\n"),
        (b"abc", b"Content-Length: 3\r\n"),
        (Coming(5), b"Content-Length: 5\r\n"),
        (Coming(None), b"Transfer-Encoding: chunked\r\n"),
    ],
)
def test_the_framing_is_what_the_content_needs(body: Any, framing: bytes) -> None:
    assert encode("POST", "/x?", b"Host: a\r\n", body) == b"POST /x? HTTP/1.1\r\nHost: a\r\n%b\r\n" % framing

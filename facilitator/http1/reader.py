"""Reads one answer at a time out of a connection's bytes (RFC 9112 sections 4 to 7).

httptools (llhttp, strict) refuses bare CR and LF, control bytes, names that are no tokens, malformed and
several lengths, a length beside a transfer coding, and bad chunks. Decided here: which answers have
content, which codings are known, limits, and what ends with the connection.
"""

from __future__ import annotations

import math

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from facilitator.http1.answer import Answer
from facilitator.http1.errors import Closed, Invalid
from facilitator.http1.request import Field

MAX_FIELD = 64 * 1024
MAX_FIELDS = 200
MAX_HEAD = 256 * 1024
"""Bytes that may come without content: heads, interim answers with them, chunk extensions, trailers."""

_SWITCHING = 101
_BODILESS = frozenset({204, 304})
_FRAMING = frozenset({b"content-length", b"transfer-encoding", b"connection"})


class Reader:
    """The reading half of one connection."""

    __slots__ = (
        "_answer",
        "_bare",
        "_fields",
        "_interim",
        "_left",
        "_overhead",
        "_parser",
        "_upgrade",
        "reusable",
        "surplus",
        "whole",
    )

    def __init__(self) -> None:
        self._parser: HttpResponseParser | None = None
        self._answer: Answer | None = None

    def expect(self, answer: Answer, *, bare: bool, upgrade: bool) -> None:
        """What comes next is ``answer``: without content if ``bare`` (HEAD), a 101 only on ``upgrade``."""
        self._answer = answer
        self._bare = bare
        self._upgrade = upgrade
        self._fields: list[Field] = []
        self._interim = False
        self._left: float = 0
        """Bytes of content to come that are not parsed; infinite where the connection's end is its end."""
        self._overhead = 0
        self.whole = False
        self.reusable = False
        """Whether another answer can follow on this connection."""
        self.surplus = b""
        """After a 101: what followed it."""
        if self._parser is None:
            self._parser = HttpResponseParser(self)

    def feed(self, data: bytes) -> bool:
        """Whether the answer is whole; Invalid where it cannot be one."""
        if self._left:
            self._content(data)
            return self.whole
        assert self._parser is not None
        self._overhead += len(data)
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade as upgrade:
            self.surplus = data[upgrade.args[0] :]
        except HttpParserError as error:
            self._parser, self.reusable = None, False
            if not self.whole:
                raise Invalid(str(error)) from error
        if self._overhead > MAX_HEAD and not self.whole:
            raise Invalid("too much that is no content")
        return self.whole

    def ended(self, *, reset: bool = False) -> None:
        """The connection ended, in order or not: so did the answer, or it is Invalid."""
        if self._left == math.inf and not reset:
            self.whole = True
            return
        heard = self._overhead or (self._answer is not None and self._answer.status)
        raise Invalid("cut short") if heard else Closed("closed without an answer")

    def forget(self) -> None:
        """No more comes."""
        self._parser = self._answer = None

    def _content(self, data: bytes) -> None:
        """Content that ends by its length, or with the connection, passes as it came."""
        assert self._answer is not None
        self._parser = None  # it waits for this content
        if len(data) < self._left:
            self._left -= len(data)
            self._answer.add(data)
            return
        if len(data) > self._left:
            self.reusable = False
            data = data[: int(self._left)]
        self._left = 0
        self.whole = True
        self._answer.add(data)

    # What the parser finds; what is raised here it raises as an HttpParserError

    def on_message_begin(self) -> None:
        if self.whole:
            self.reusable = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields.append((name, value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        if self.whole:
            return
        assert self._parser is not None and self._answer is not None
        status = self._parser.get_status_code()
        fields = self._taken()
        switches = status == _SWITCHING and self._upgrade and self._parser.should_upgrade()
        if status < 200 and not switches:
            if status == _SWITCHING:
                raise Invalid("an upgrade that was not asked for")
            self._interim = True
            return
        length, chunked, self.reusable = _framing(fields, self._parser.get_http_version())
        if switches or self._bare or status in _BODILESS:
            self.whole = True
            if self._bare:
                self._parser = None  # it waits for content
        elif length is not None:
            self._left = length
        elif not chunked:
            self._left, self.reusable = math.inf, False
        self._answer.begin(status, fields, length)

    def on_body(self, data: bytes) -> None:
        if self.whole:
            self.reusable = False
            return
        if self._interim or self._answer is None:
            raise Invalid("an interim answer with content")
        self._overhead = 0
        if self._left:
            self._left -= len(data)
        self._answer.add(data)

    def on_message_complete(self) -> None:
        if self._fields:
            self._taken()  # trailers
        if self._interim:
            self._interim = False
        else:
            self.whole = True

    def _taken(self) -> list[Field]:
        """The fields read so far, within the limits."""
        fields, self._fields = self._fields, []
        if len(fields) > MAX_FIELDS:
            raise Invalid("too many fields")
        if self._overhead > MAX_FIELD and any(len(name) + len(value) > MAX_FIELD for name, value in fields):
            raise Invalid("a field is too large")
        return fields


def _framing(fields: list[Field], version: str) -> tuple[int | None, bool, bool]:
    """Content-Length, whether chunked, and whether the connection goes on; Invalid where that is unclear."""
    length, chunked, options = None, False, b""
    for name, value in fields:
        low = name.lower()
        if low not in _FRAMING:
            continue
        if low == b"content-length":
            length = int(value)
        elif low == b"connection":
            options += value.lower() + b","
        elif chunked or value.lower() != b"chunked":
            raise Invalid("a transfer coding nobody asked for")
        else:
            chunked = True
    if version == "1.1":
        return length, chunked, not options or not _has(options, b"close")
    if version != "1.0":
        raise Invalid("another version of HTTP")
    return length, chunked, not chunked and _has(options, b"keep-alive")


def _has(options: bytes, option: bytes) -> bool:
    return option in (each.strip() for each in options.split(b","))

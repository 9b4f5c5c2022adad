"""A request's head as bytes, each of them checked (RFC 9112 sections 2 and 3)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from facilitator.http1.errors import Unsendable

Field = tuple[bytes, bytes]

_TOKEN = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_VISIBLE = bytes(range(0x21, 0x7F))
_TEXT = b"\t " + _VISIBLE + bytes(range(0x80, 0x100))


class Stream(Protocol):
    """A request's content that comes while it is sent."""

    @property
    def length(self) -> int | None:
        """Bytes in all; None where only the end will tell."""

    async def read(self) -> bytes:
        """The next bytes, ``b""`` at the end; what it raises ends the exchange."""


Body = bytes | Stream | None
"""None: no content, and no word about its length."""


def lines(fields: Iterable[Field]) -> bytes:
    """Field lines, to be put into a head as they are. Unsendable unless they are exactly these fields."""
    fields = list(fields)
    names = [name for name, _ in fields]
    block = b"".join([b"%b: %b\r\n" % field for field in fields])
    if b"" in names or b"".join(names).translate(None, _TOKEN):
        raise Unsendable("a header field's name is no token")
    if block.translate(None, _TEXT) != b"\r\n" * len(fields):
        raise Unsendable("a header field has control bytes")
    return block


def encode(method: str, target: str, block: bytes, body: Body) -> bytes:
    """The head of a request with the field ``lines`` of ``block``; Unsendable as those."""
    name = method.encode()
    line = name + b" " + target.encode()
    if not (name and target) or name.translate(None, _TOKEN) or line.translate(None, _VISIBLE) != b" ":
        raise Unsendable("not a request line")
    return b"%b HTTP/1.1\r\n%b%b\r\n" % (line, block, _framing(body))


def _framing(body: Body) -> bytes:
    if body is None:
        return b""
    length = len(body) if isinstance(body, bytes) else body.length
    return b"Transfer-Encoding: chunked\r\n" if length is None else b"Content-Length: %d\r\n" % length

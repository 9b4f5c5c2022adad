"""A request's head as bytes, each of them checked (RFC 9112 sections 2 and 3)."""

from __future__ import annotations

from collections.abc import Sequence
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


def lines(fields: Sequence[Field]) -> bytes:
    """Field lines, to be put into a head as they are. Unsendable unless they are exactly these fields."""
    if not fields:
        return b""
    block = b"\r\n".join([b": ".join(field) for field in fields]) + b"\r\n"
    names = [field[0] for field in fields]
    if b"" in names or b"".join(names).translate(None, _TOKEN):
        raise Unsendable("a header field's name is no token")
    if block.translate(None, _TEXT) != b"\r\n" * len(fields):
        raise Unsendable("a header field has control bytes")
    return block


def encode(method: str, target: str, block: bytes, body: Body) -> bytes:
    """The head of a request with the field ``lines`` of ``block``; Unsendable as those."""
    return ended(begun(method, target, block), body)


def begun(method: str, target: str, block: bytes) -> bytes:
    """The part of a head that is the same whatever the content; Unsendable as ``lines``."""
    name, place = method.encode(), target.encode()
    if not (name and place) or name.translate(None, _TOKEN) or place.translate(None, _VISIBLE):
        raise Unsendable("not a request line")
    return b"%b %b HTTP/1.1\r\n%b" % (name, place, block)


def ended(head: bytes, body: Body) -> bytes:
    """What is ``begun``, with what says how its content ends."""
    if body is None:
        return head + b"\r\n"
    length = len(body) if isinstance(body, bytes) else body.length
    if length is None:
        return head + b"Transfer-Encoding: chunked\r\n\r\n"
    return b"%bContent-Length: %d\r\n\r\n" % (head, length)

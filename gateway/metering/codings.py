"""Content codings a metered answer may have, read beside the bytes the client gets."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Protocol

import brotli

ACCEPTABLE = b"gzip, deflate, br, identity"
"""Codings a metered request may ask of the upstream."""

INFLATED = 64 * 1024 * 1024
"""Bytes one answer may be when decompressed; a larger one is estimated."""
_BLOCK = 64 * 1024
_READABLE = frozenset({b"gzip", b"x-gzip", b"deflate", b"br", b"identity"})


class Unreadable(Exception):
    """Data that is not of its coding, or far too much of it."""


class Decoder(Protocol):
    """Decompresses one answer."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What these bytes mean, in blocks; Unreadable ends it for good."""


class Identity:
    """Nothing to decompress."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The bytes themselves."""
        yield data


class Gzip:
    """Any number of members, one after the other."""

    def __init__(self) -> None:
        self._member = _gzip_member()
        self._room = INFLATED

    def feed(self, data: bytes) -> Iterator[bytes]:
        """See :class:`Decoder`."""
        while data:
            if self._member.eof:
                self._member = _gzip_member()
            for block in _inflated(self._member, data):
                self._room = _less(self._room, block)
                yield block
            data = self._member.unused_data


class Deflate:
    """With zlib's frame, as the standard says, or raw, as some servers send it."""

    def __init__(self) -> None:
        self._stream: zlib._Decompress | None = None
        self._head = b""
        self._room = INFLATED

    def feed(self, data: bytes) -> Iterator[bytes]:
        """See :class:`Decoder`."""
        if self._stream is None:
            self._head = data = self._head + data
            if len(data) < 2:
                return
            framed = data[0] & 0x0F == zlib.DEFLATED and int.from_bytes(data[:2]) % 31 == 0
            self._stream = zlib.decompressobj(zlib.MAX_WBITS if framed else -zlib.MAX_WBITS)
            self._head = b""
        if self._stream.eof:
            return
        for block in _inflated(self._stream, data):
            self._room = _less(self._room, block)
            yield block


class Brotli:
    """RFC 7932."""

    def __init__(self) -> None:
        self._stream = brotli.Decompressor()
        self._room = INFLATED

    def feed(self, data: bytes) -> Iterator[bytes]:
        """See :class:`Decoder`."""
        while not self._stream.is_finished():
            try:
                block: bytes = self._stream.process(data, output_buffer_limit=_BLOCK)
            except brotli.error as error:
                raise Unreadable(str(error)) from error
            if not block:
                return
            data = b""
            self._room = _less(self._room, block)
            yield block


def decoder(content_encoding: str) -> Decoder | None:
    """For the value of Content-Encoding; None where it cannot be read."""
    coding = content_encoding.strip().lower()
    match coding:
        case "" | "identity":
            return Identity()
        case "gzip" | "x-gzip":
            return Gzip()
        case "deflate":
            return Deflate()
        case "br":
            return Brotli()
    return None


def narrowed(value: bytes) -> bytes:
    """An Accept-Encoding without the codings that cannot be read, in its order and with its weights.

    ``*`` becomes the readable ones that are not named; ``identity`` stays refused where it was.
    """
    wanted: dict[bytes, bytes] = {}
    for item in value.split(b","):
        coding, _, weight = item.strip().lower().partition(b";")
        wanted.setdefault(coding.strip(), weight.strip())
    if (others := wanted.pop(b"*", None)) is not None:
        for coding in ACCEPTABLE.split(b", "):
            wanted.setdefault(coding, others)
    readable = {coding: weight for coding, weight in wanted.items() if coding in _READABLE}
    if not any(map(_wants, readable.values())):
        return b"identity"
    kept = (each for each in readable.items() if _wants(each[1]) or each[0] == b"identity")
    return b", ".join(b"%b;%b" % each if each[1] else each[0] for each in kept)


def _wants(weight: bytes) -> bool:
    """Whether a weight, ``q=0.5`` say, is above zero; one that is none does not count."""
    name, _, number = weight.partition(b"=")
    try:
        return not weight or (name.strip() == b"q" and 0 < float(number) <= 1)
    except ValueError:
        return False


def _gzip_member() -> zlib._Decompress:
    return zlib.decompressobj(zlib.MAX_WBITS | 16)


def _inflated(stream: zlib._Decompress, data: bytes) -> Iterator[bytes]:
    try:
        block = b""
        while data or len(block) == _BLOCK:  # a full block may leave output behind, without input
            block = stream.decompress(data, _BLOCK)
            data = stream.unconsumed_tail
            yield block
    except zlib.error as error:
        raise Unreadable(str(error)) from error


def _less(room: int, block: bytes) -> int:
    if len(block) > room:
        raise Unreadable(f"more than {INFLATED} bytes")
    return room - len(block)

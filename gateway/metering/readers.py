"""The forms an answer comes in, and how each is cut into elements for the tally."""

from __future__ import annotations

import re
from typing import Protocol

from gateway.metering.events import Piece, Splitter, data_of
from gateway.metering.held import Held, parsed
from gateway.metering.tally import Tally

LARGEST = 8 * 1024 * 1024
"""Bytes of JSON that are read; of more only the end is, where the usage is."""
_DONE = (b"", b"[DONE]")


class Reader(Protocol):
    """Reads one decompressed answer."""

    def feed(self, data: bytes) -> None:
        """Read on."""

    def end(self) -> None:
        """Nothing more comes."""


class Document:
    """One JSON value, understood when it is complete; until then its bytes count as text."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._held = Held(LARGEST)

    def feed(self, data: bytes) -> None:
        """See :class:`Reader`."""
        self._held.add(data)
        self._tally.heard(len(data))

    def end(self) -> None:
        """See :class:`Reader`."""
        value = self._held.value()
        if self._held.whole and value is not None:
            self._tally.heard(-self._held.size)
        for element in value if isinstance(value, list) else [value]:
            self._tally.read(element)


class Elements:
    """A JSON array whose elements are understood one by one, as they come; or one object."""

    _STRUCTURE = re.compile(rb'["{}\[\]]')
    _QUOTED = re.compile(rb'["\\]')

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._held = Held(LARGEST)
        self._depth = 0
        self._outside: int | None = None
        """The depth elements lie in: 1 in an array, 0 for the one object; None before the first bracket."""
        self._quoted = False
        self._skip = 0
        """Bytes at the beginning of what comes next that a backslash escapes."""

    def feed(self, data: bytes) -> None:
        """See :class:`Reader`."""
        begun = 0
        at = self._skip
        while found := (self._QUOTED if self._quoted else self._STRUCTURE).search(data, at):
            at = found.end()
            match found[0]:
                case b"\\":
                    at += 1
                case b'"':
                    self._quoted = not self._quoted
                case b"{" | b"[":
                    if self._opens(found[0]):
                        begun = found.start()
                    self._depth += 1
                case _:
                    self._depth -= 1
                    if self._depth == self._outside:
                        self._held.add(data[begun:at])
                        self._conclude()
        self._skip = max(0, at - len(data))
        if self._outside is not None and self._depth > self._outside:
            self._held.add(data[begun:])

    def end(self) -> None:
        """See :class:`Reader`."""
        if self._held.size:
            self._conclude()

    def _opens(self, bracket: bytes) -> bool:
        """Whether an element begins with this bracket."""
        if self._outside is None:
            self._outside = int(bracket == b"[")
        return self._depth == self._outside

    def _conclude(self) -> None:
        value = self._held.value()
        if value is None or not self._held.whole:
            self._tally.heard(self._held.size)
        self._tally.read(value)
        self._held = Held(LARGEST)


class Events:
    """Server-sent events, each of which carries one JSON element."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._splitter = Splitter()
        self._large = Held(0)
        """The end of an event that is too large."""

    def feed(self, data: bytes) -> None:
        """See :class:`Reader`."""
        for piece in self._splitter.feed(data):
            self.take(piece)

    def end(self) -> None:
        """See :class:`Reader`."""
        for piece in self._splitter.end():
            self.take(piece)
        self._conclude()

    def take(self, piece: Piece) -> object:
        """Read one piece of the stream; its element, where it is a whole event that has one."""
        if not piece.whole:
            self._tally.heard(len(piece.data))
            self._large.add(piece.data)
            return None
        self._conclude()
        data = data_of(piece.data)
        if data in _DONE:
            return None
        element = parsed(data)
        if element is None:
            self._tally.heard(len(data))
        self._tally.read(element)
        return element

    def _conclude(self) -> None:
        if self._large.size:
            self._tally.read(self._large.value())
            self._large = Held(0)

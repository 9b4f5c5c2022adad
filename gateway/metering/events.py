"""Cutting a stream of server-sent events at its blank lines, wherever its chunks end."""

from __future__ import annotations

import re
from typing import NamedTuple

LIMIT = 1 << 20
"""Bytes of one event that are held; a larger one is passed on in parts."""

_LINE_END = rb"(?:\r\n|\n|\r(?=[^\n]))"
"""A last CR is none yet: an LF that belongs to it may follow."""
_AFTER_LF = re.compile(rb"\n" + _LINE_END)
_AFTER_CR = re.compile(rb"\r(?:\r\n|\r(?=[^\n]))")
"""Two expressions with a fixed first byte are many times faster than one without."""
_REACH = 2
"""Bytes of an unfinished blank line at most."""


class Piece(NamedTuple):
    """Bytes of the stream, unaltered."""

    data: bytes
    whole: bool
    """An event with its blank line (or the unfinished one at the end); False: part of one too large."""


class Splitter:
    """All pieces together are the stream; no event is held longer than until it is complete."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._searched = 0
        self._large = False

    def feed(self, chunk: bytes) -> list[Piece]:
        """What is complete now, and of an event too large what there is."""
        held, pieces, start = self._held, [], 0
        held += chunk
        while (end := _blank_line(held, max(start, self._searched))) is not None:
            pieces.append(self._piece(start, end))
            start = end
            self._large = False
        if self._large or len(held) - start > LIMIT:
            self._large = True
            pieces.append(self._piece(start, max(start, len(held) - _REACH)))
            start = max(start, len(held) - _REACH)
        del held[:start]
        self._searched = max(0, len(held) - _REACH)
        return [piece for piece in pieces if piece.data]

    def end(self) -> list[Piece]:
        """What is left when no more comes."""
        rest = self._piece(0, len(self._held))
        self._held = bytearray()
        return [rest] if rest.data else []

    def _piece(self, start: int, end: int) -> Piece:
        self._large = self._large or end - start > LIMIT
        return Piece(bytes(self._held[start:end]), not self._large)


def _blank_line(held: bytearray, start: int) -> int | None:
    """Where the first one ends."""
    after_lf = _AFTER_LF.search(held, start)
    after_cr = _AFTER_CR.search(held, start, after_lf.end() if after_lf else len(held))
    found = after_cr or after_lf
    return found.end() if found else None


def data_of(event: bytes) -> bytes:
    """The data of one event: its ``data`` lines, joined; empty where it has none."""
    lines = (line[5:].removeprefix(b" ") for line in event.splitlines() if line.startswith(b"data:"))
    return b"\n".join(lines)

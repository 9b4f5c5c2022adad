"""Bytes held until they can be read as JSON, and never more than so many of them."""

from __future__ import annotations

import re

import orjson

TAIL = 64 * 1024
"""Bytes kept of what is too large to be held: vendors write the usage last."""

_FLAT = rb"[^{}]*+"
_DEEP = rb"%b(?:\{%b(?:\{%b\}%b)*+\}%b)*+" % (_FLAT, _FLAT, _FLAT, _FLAT, _FLAT)
_USAGE = re.compile(rb'"(usage|usageMetadata)"\s*+:\s*+(\{%b\})' % _DEEP)
"""Only a real key can match: inside a string its second quote would have a backslash before it."""


class Held:
    """The bytes of one JSON value, as they come."""

    def __init__(self, limit: int) -> None:
        """Past ``limit`` bytes only the end is kept."""
        self._limit = limit
        self._kept = bytearray()
        self.size = 0
        """Bytes that came."""

    def add(self, data: bytes) -> None:
        """Hold some more."""
        self.size += len(data)
        self._kept += data
        if not self.whole:
            del self._kept[:-TAIL]

    @property
    def whole(self) -> bool:
        """Whether all of them are still here."""
        return self.size <= self._limit

    def value(self) -> object:
        """What they mean, or of too many what their end says about usage; None if they are no JSON."""
        return parsed(bytes(self._kept)) if self.whole else _usage_in(bytes(self._kept))


def parsed(data: bytes) -> object:
    """A JSON value, or None for what is none."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return None


def _usage_in(tail: bytes) -> dict[str, object] | None:
    found = list(_USAGE.finditer(tail))
    return {found[-1][1].decode(): parsed(found[-1][2])} if found else None

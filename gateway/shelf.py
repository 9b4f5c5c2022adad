"""402s given a moment ago, for requests that are the same to the byte.

Agents ask before they pay, many of them for the same thing in the same words. What the first one was told
the others are told too, each under an id of its own, without reading again what they say. Kept so shortly
that what it depends on (prices, gas) may change at any time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from gateway.render import Entry, Renderer

FRESH = 0.1
"""Seconds an answer is given again."""
MOST, LONGEST = 512, 2048
"""Answers that are kept, and bytes of the longest request among them."""


@dataclass(frozen=True, slots=True)
class _Kept:
    until: float
    about: Entry
    parts: list[bytes]
    """The answer without the request ids in it."""


class Shelf:
    """Answers by the bytes of their requests."""

    def __init__(
        self, renderer: Renderer, selling: Callable[[], bool], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Nothing is given again while we are not ``selling``."""
        self._renderer = renderer
        self._selling = selling
        self._clock = clock
        self._kept: dict[bytes, _Kept] = {}

    def put(self, request: bytes, answer: bytes, about: Entry) -> None:
        """Keep a challenge; ``request`` is all of what it answers."""
        if len(request) > LONGEST:
            return
        if len(self._kept) >= MOST:
            self._kept.clear()
        parts = answer.split(about.request_id.encode())
        self._kept[request] = _Kept(self._clock() + FRESH, about, parts)

    def again(self, request: bytes) -> bytes | None:
        """The answer to the same bytes, counted and logged as a request of its own."""
        kept = self._kept.get(request)
        if kept is None:
            return None
        if kept.until < self._clock() or not self._selling():
            del self._kept[request]
            return None
        return self._renderer.repeated(kept.about).join(kept.parts)

    def clear(self) -> None:
        """Nothing said so far is true any more."""
        self._kept.clear()

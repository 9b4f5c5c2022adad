"""A circuit breaker: who failed several times in a row is left alone for a while."""

from __future__ import annotations

import time
from collections.abc import Callable

FAILURES = 5
REST = 10.0
"""Failures in a row after which it opens, and for how many seconds; then one call at a time may try."""


class Breaker:
    """Closed while calls work, open while they do not, and half-open in between."""

    def __init__(
        self,
        failures: int = FAILURES,
        rest: float = REST,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit = failures
        self._rest = rest
        self._now = now
        self._failed = 0
        self._until = float("-inf")
        self._trial = False

    @property
    def open(self) -> bool:
        """Whether nothing is let through at all."""
        return self.tripped and self._now() < self._until

    @property
    def tripped(self) -> bool:
        """Open or half-open: it failed too often and has not worked since."""
        return self._failed >= self._limit

    def admit(self) -> bool:
        """Whether a call may be made now; then ``worked``, ``failed`` or ``left`` must follow."""
        if not self.tripped:
            return True
        if self.open or self._trial:
            return False
        self._trial = True
        return True

    def worked(self) -> None:
        """A call got an answer."""
        self._failed = 0
        self._trial = False

    def failed(self) -> None:
        """A call got none."""
        self._failed += 1
        self._until = self._now() + self._rest
        self._trial = False

    def left(self) -> None:
        """A call ended without saying anything about the other side."""
        self._trial = False

    def seen(self) -> None:
        """It answers to something less: the next call may try."""
        self._until = float("-inf")

    def unseen(self) -> None:
        """It cannot even be reached: no call need try for another while."""
        self._until = self._now() + self._rest

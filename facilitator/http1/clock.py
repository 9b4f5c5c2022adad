"""A deadline that moves often: one timer, which looks where it is by now when it fires."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable


class Clock:
    """Calls ``late`` once the deadline has passed."""

    __slots__ = ("_at", "_late", "_loop", "_timer", "deadline")

    def __init__(self, loop: asyncio.AbstractEventLoop, late: Callable[[], None]) -> None:
        self._loop = loop
        self._late = late
        self._timer: asyncio.TimerHandle | None = None
        self._at = math.inf
        self.deadline = math.inf
        """Loop time; infinite: never."""

    def move(self, deadline: float) -> None:
        """The deadline is another one."""
        self.deadline = deadline
        if deadline >= self._at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._at = deadline
        self._timer = self._loop.call_at(deadline, self._look)

    def stop(self) -> None:
        """For good."""
        self.deadline = math.inf
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        self._timer, self._at = None, math.inf
        if self.deadline > self._loop.time():
            self.move(self.deadline)
        else:
            self._late()

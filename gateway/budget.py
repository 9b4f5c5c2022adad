"""Memory for bodies and held answers: one bound for all requests together."""

from __future__ import annotations

from types import TracebackType

from gateway.errors import Unavailable


class Budget:
    """At most ``limit`` bytes held at once (``server.max_buffered``)."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0

    def hold(self) -> Hold:
        """One request's share; give it back by leaving the context."""
        return Hold(self)


class Hold:
    """What one request holds."""

    __slots__ = ("_budget", "_size")

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._size = 0

    def add(self, size: int) -> None:
        """Hold ``size`` more bytes; Unavailable ``busy`` when all requests together hold too much."""
        if self._budget.used + size > self._budget.limit:
            raise Unavailable("busy", "the gateway holds too much at the moment; try again")
        self._budget.used += size
        self._size += size

    def __enter__(self) -> Hold:
        return self

    def __exit__(self, *exc: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._budget.used -= self._size
        self._size = 0

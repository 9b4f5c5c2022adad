"""Memory for bodies and held answers: one bound for all requests together."""

from __future__ import annotations

from gateway.errors import Unavailable


class Budget:
    """At most ``limit`` bytes held at once (``server.max_buffered``)."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0

    def hold(self) -> Hold:
        """One request's share; it is given back once its answer is written."""
        return Hold(self)


class Hold:
    """What one request holds."""

    __slots__ = ("_budget", "_size")

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._size = 0

    def fits(self, size: int) -> bool:
        """Whether ``size`` more bytes may be held."""
        return self._budget.used + size <= self._budget.limit

    def add(self, size: int) -> None:
        """Hold ``size`` more bytes; Unavailable ``busy`` when all requests together hold too much."""
        if not self.fits(size):
            raise Unavailable("busy", "the gateway holds too much at the moment; try again")
        self._budget.used += size
        self._size += size

    @property
    def empty(self) -> bool:
        """Whether nothing is held."""
        return not self._size

    def release(self) -> None:
        """Give everything back."""
        self._budget.used -= self._size
        self._size = 0

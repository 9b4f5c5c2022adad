"""When payments that are due together leave together, and how many: nothing but arithmetic."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

MOST = 200
"""Payments in one transaction at most: 96 kB of calldata, where nodes take 128 KiB with everything."""

GAS_SHARE = 4
"""A transaction asks for no more than this part of a block's gas, so that blocks have room for it."""
MOST_GAS = 2**24
"""Most gas a transaction may ask for (EIP-7825)."""
USUAL_BLOCK = 30_000_000
"""Gas in a block while it is not known."""


@dataclass(frozen=True, slots=True)
class Batches:
    """How payments are taken together; times in seconds."""

    max_wait: float = 0.2
    """Most that one waits for company."""
    max_size: int = 100
    """Payments in one transaction, at most ``MOST``; 1: each goes alone."""
    gap: float = 0.012
    """Time in which nobody joined, after which those who wait leave."""
    alone: float = 0.001
    """The same for one while no other is being settled: who comes alone is hardly held up, and what comes
    in one go is not torn apart."""


def gas_budget(block_gas: int) -> int:
    """The gas one transaction may ask for where blocks have ``block_gas`` (0: not known)."""
    return min((block_gas or USUAL_BLOCK) // GAS_SHARE, MOST_GAS)


class Gathering(Generic[T]):
    """Those who wait to leave, first come first. Times are the caller's, in seconds, never going back."""

    def __init__(self, batches: Batches, lot: Callable[[T], object]) -> None:
        """Only those of one ``lot`` leave together."""
        self._batches = batches
        self._lot = lot
        self._waiting: deque[tuple[T, float]] = deque()
        self._joined_at = float("-inf")
        self._gap = batches.gap
        self.room = batches.max_size
        """How many fit into one transaction, as far as is known."""

    def __len__(self) -> int:
        return len(self._waiting)

    def join(self, one: T, now: float, *, company: bool) -> None:
        """One more waits. ``company``: others are being settled, so that more may well come soon."""
        self._gap = self._batches.gap if company else self._batches.alone
        self._waiting.append((one, now))
        self._joined_at = now

    def leaves_at(self, *, busy: bool) -> float:
        """When the next ones leave if nobody else joins; somebody must wait. ``busy``: others are being
        prepared; meanwhile only those leave who are enough, or have waited for the longest time."""
        first = self._waiting[0][1]
        if len(self._waiting) >= self._most:
            return first
        latest = first + self._batches.max_wait
        return latest if busy else min(latest, self._joined_at + self._gap)

    def take(self) -> list[T]:
        """The next ones to leave, in the order they came."""
        lot, taken = self._lot(self._waiting[0][0]), list[T]()
        while self._waiting and len(taken) < self._most and self._lot(self._waiting[0][0]) == lot:
            taken.append(self._waiting.popleft()[0])
        return taken

    @property
    def _most(self) -> int:
        return max(1, min(self._batches.max_size, self.room))

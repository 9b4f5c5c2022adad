"""What became of paid answers, told to the store: taken completely, or left behind.

A payer whose answer was left behind is not charged for the same request again, so what is in doubt
counts as left: a mark that is lost favours the payer.
"""

from __future__ import annotations

import asyncio
import time

from gateway.errors import StoreUnavailable
from gateway.store import Store

BATCH = 0.1
"""Seconds at most between an answer's end and its mark."""
PATIENCE = 2.0
"""Seconds an answer that says "come again" waits for its mark while the store fails."""


class Deliveries:
    """Collects marks and records them in batches; those that say ``left`` at once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._delivered: set[str] = set()
        self._left: set[str] = set()
        self._urgent = asyncio.Event()
        self._flushing = asyncio.Lock()

    def delivered(self, payment_id: str) -> None:
        """The client's kernel has the whole answer."""
        self._left.discard(payment_id)
        self._delivered.add(payment_id)

    def left(self, payment_id: str) -> None:
        """The client is gone, or was told to come again, without the answer."""
        if payment_id not in self._delivered:
            self._left.add(payment_id)
            self._urgent.set()

    def ended(self, payment_id: str, taken: bool) -> None:
        """The answer is written; one whose client had ended its side by then may not have been read."""
        if taken:
            self.delivered(payment_id)
        else:
            self.left(payment_id)

    async def leave(self, payment_id: str) -> None:
        """The same, recorded when this returns, or in a later batch where the store stays away.

        Who is told to come again may do so at once, elsewhere, with another payment: the mark must be there
        before the answer, if the store can take it at all.
        """
        self.left(payment_id)
        until = time.monotonic() + PATIENCE
        while True:
            try:
                return await self.flush()
            except StoreUnavailable:
                if time.monotonic() + BATCH > until:
                    return None
            await asyncio.sleep(BATCH)

    async def flush(self) -> None:
        """Record what was collected; StoreUnavailable keeps it for the next time."""
        async with self._flushing:
            delivered, left = self._delivered, self._left
            if not delivered and not left:
                return
            self._delivered, self._left = set(), set()
            try:
                await self._store.mark(delivered=sorted(delivered), left=sorted(left))
            except StoreUnavailable:
                self._delivered |= delivered
                self._left |= left - self._delivered
                raise

    async def run(self) -> None:
        """Record for ever."""
        while True:
            await self._wait()
            try:
                await self.flush()
            except StoreUnavailable:
                await asyncio.sleep(BATCH)

    async def _wait(self) -> None:
        self._urgent.clear()
        if self._left:
            return
        try:
            async with asyncio.timeout(BATCH):
                await self._urgent.wait()
        except TimeoutError:
            pass

"""Leases this process holds: renewed while their work goes on, many in one call."""

from __future__ import annotations

import asyncio
import time
from typing import Self

from gateway.errors import StoreUnavailable
from gateway.payment import Lease
from gateway.store import Store

LEASE = 10.0
"""Seconds a lease lasts; a process that slept longer has lost it."""
RENEW = 3.0
"""Seconds between renewals."""
TOGETHER = 500
"""Leases renewed in one call: the store does nothing else meanwhile."""


class Kept:
    """A lease that is being renewed until the context is left."""

    __slots__ = ("_held", "lease", "lost", "until")

    def __init__(self, held: dict[str, Kept], lease: Lease, until: float) -> None:
        """``held``: all of them, by the payment's id."""
        self._held = held
        self.lease = lease
        self.lost = False
        """Whether the store has said that it is not ours any more."""
        self.until = until
        """Our own clock (monotonic seconds) up to which it was ours when last asked."""

    def __enter__(self) -> Self:
        self._held[self.lease.payment_id] = self
        return self

    def __exit__(self, *args: object) -> None:
        if self._held.get(self.lease.payment_id) is self:
            del self._held[self.lease.payment_id]

    @property
    def doubtful(self) -> bool:
        """Lost, or too long without a word from the store: this process may have slept.

        Looked at before an effect that no fence guards; a lease in doubt is never made good again.
        """
        return self.lost or time.monotonic() >= self.until


class Leases:
    """Keeps leases alive. What matters is checked again by the store: every step names its fence."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._held: dict[str, Kept] = {}

    def kept(self, lease: Lease, taken_at: float) -> Kept:
        """``lease``, to be renewed; ``taken_at`` is before it was asked for (monotonic)."""
        return Kept(self._held, lease, taken_at + LEASE)

    async def run(self) -> None:
        """Renew for ever; a store that is down is tried again."""
        while True:
            await asyncio.sleep(RENEW)
            if self._held:
                held = list(self._held.values())
                try:
                    for first in range(0, len(held), TOGETHER):
                        await self._renew(held[first : first + TOGETHER])
                except StoreUnavailable:
                    continue

    async def _renew(self, held: list[Kept]) -> None:
        asked_at = time.monotonic()
        ours = await self._store.renew([kept.lease for kept in held], lease=LEASE)
        for kept in held:
            if kept.lease.payment_id in ours:
                kept.until = asked_at + LEASE
            else:
                kept.lost = True

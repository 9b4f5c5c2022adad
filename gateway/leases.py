"""Leases this process holds: renewed while their work goes on, in one call for all."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from gateway.errors import StoreUnavailable
from gateway.payment import Lease
from gateway.store import Store

LEASE = 10.0
"""Seconds a lease lasts; a process that slept longer has lost it."""
RENEW = 3.0
"""Seconds between renewals."""


class Kept:
    """A lease that is being renewed; ``lost`` once the store has said that it is not ours any more."""

    __slots__ = ("lease", "lost")

    def __init__(self, lease: Lease) -> None:
        self.lease = lease
        self.lost = False


class Leases:
    """Keeps leases alive. What matters is checked again by the store: every step names its fence."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._held: dict[str, Kept] = {}

    @contextmanager
    def kept(self, lease: Lease) -> Iterator[Kept]:
        """Renew ``lease`` until the context is left."""
        kept = self._held[lease.payment_id] = Kept(lease)
        try:
            yield kept
        finally:
            if self._held.get(lease.payment_id) is kept:
                del self._held[lease.payment_id]

    async def run(self) -> None:
        """Renew for ever; a store that is down is tried again."""
        while True:
            await asyncio.sleep(RENEW)
            if self._held:
                await self._renew(list(self._held.values()))

    async def _renew(self, held: list[Kept]) -> None:
        try:
            ours = await self._store.renew([kept.lease for kept in held], lease=LEASE)
        except StoreUnavailable:
            return
        for kept in held:
            kept.lost = kept.lease.payment_id not in ours

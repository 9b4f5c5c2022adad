"""Whether the store answers, known in advance: a background ping, never one per request."""

from __future__ import annotations

import asyncio

from gateway.errors import StoreUnavailable
from gateway.observe import Metrics, log
from gateway.store import Store

INTERVAL = 0.5
PROBE = "watch"
"""The lease that is written to see whether the store still takes writes; it gives no right to anything."""
WRITE_EVERY = 2
"""Pings per write while all is well: a full disk, a replica or a full memory still answer pings."""


class StoreWatch:
    """Pings the store every half second; paid routes ask ``require`` before they do anything."""

    def __init__(self, store: Store, metrics: Metrics) -> None:
        self._store = store
        self._metrics = metrics
        self._told: set[str] = set()
        self._looks = 0
        self.up = True
        metrics.store_up.set(1)

    def require(self) -> None:
        """StoreUnavailable while the store is known to be down."""
        if not self.up:
            raise StoreUnavailable()

    async def open(self) -> None:
        """Open the store. One that is down is waited for; StoreUnfit for one that must not be used."""
        try:
            await self._store.open()
        except StoreUnavailable as error:
            self._down(error)

    async def run(self) -> None:
        """Ping for ever."""
        while True:
            await asyncio.sleep(INTERVAL)
            await self._look()

    async def _look(self) -> None:
        self._looks += 1
        try:
            await self._store.ping()
            if not self.up or self._looks % WRITE_EVERY == 0:
                await self._store.hold(PROBE, PROBE, lease=INTERVAL)
        except StoreUnavailable as error:
            self._down(error)
        else:
            self._back()

    def _down(self, error: StoreUnavailable) -> None:
        """Each reason is told once per outage: operators need it, and some alternate twice a second."""
        reason = str(error.__cause__ or error.detail)
        if reason not in self._told:
            self._told.add(reason)
            log.warning("store", up=False, reason=reason)
        self.up = False
        self._metrics.store_up.set(0)

    def _back(self) -> None:
        if not self.up:
            log.warning("store", up=True)
        self._told.clear()
        self.up = True
        self._metrics.store_up.set(1)

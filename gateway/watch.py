"""Whether the store answers, known in advance: a background ping, never one per request."""

from __future__ import annotations

import asyncio

from gateway.errors import StoreUnavailable
from gateway.observe import Metrics, log
from gateway.store import Store

INTERVAL = 0.5


class StoreWatch:
    """Pings the store every half second; paid routes ask ``require`` before they do anything."""

    def __init__(self, store: Store, metrics: Metrics) -> None:
        self._store = store
        self._metrics = metrics
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
            self._set(False, error.detail)

    async def run(self) -> None:
        """Ping for ever."""
        while True:
            await asyncio.sleep(INTERVAL)
            await self._look()

    async def _look(self) -> None:
        try:
            await self._store.ping()
        except StoreUnavailable as error:
            self._set(False, error.detail)
        else:
            self._set(True, "")

    def _set(self, up: bool, detail: str) -> None:
        if up != self.up:
            log.warning("store", up=up, detail=detail)
        self.up = up
        self._metrics.store_up.set(int(up))

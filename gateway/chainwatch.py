"""Whether the chains answer, and whether the settlement keys can pay for gas: looked at in the background."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from facilitator.fuel import Look
from gateway.observe import Metrics, log

INTERVAL = 15.0
RETRY = 2.0
"""Seconds between looks while a chain is down or its keys are out of gas: the return should show at once."""


class Watched(Protocol):
    """What is looked at: a facilitator of whatever kind."""

    async def look(self, network: str) -> Look: ...

    def ready(self, network: str) -> bool: ...


class ChainWatch:
    """Keeps ``up`` by network, and the gauges."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._watched: list[tuple[Watched, str]] = []
        self._ready: dict[str, bool] = {}
        self.up: dict[str, bool] = {}

    def add(self, facilitator: Watched, networks: Sequence[str]) -> None:
        """Watch these networks (CAIP-2), too."""
        self._watched += [(facilitator, network) for network in networks]
        self.up |= dict.fromkeys(networks, True)
        self._ready |= dict.fromkeys(networks, True)

    async def run(self) -> None:
        """Look for ever."""
        while True:
            for facilitator, network in self._watched:
                await self._look(facilitator, network)
            well = all(self.up.values()) and all(self._ready.values())
            await asyncio.sleep(INTERVAL if well else RETRY)

    async def _look(self, facilitator: Watched, network: str) -> None:
        seen = await facilitator.look(network)
        if self.up[network] != seen.up:
            log.warning("chain", network=network, up=seen.up, detail=seen.detail)
        self.up[network] = seen.up
        self._metrics.facilitator_up.labels(network).set(int(seen.up))
        if seen.balances:
            self._metrics.signer_balance.labels(network).set(min(seen.balances.values()))
        ready = facilitator.ready(network)
        if self._ready[network] != ready:
            log.warning("settling", network=network, possible=ready)
        self._ready[network] = ready

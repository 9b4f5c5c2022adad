"""Whether the chains answer, and whether the settlement keys can pay for gas: looked at in the background."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from facilitator.base import VerificationUnavailable
from facilitator.chain import Chain
from facilitator.local import LocalFacilitator
from facilitator.token_facts import native_balance
from gateway.observe import Metrics, log

INTERVAL = 15.0
RETRY = 2.0
"""Seconds between looks while a chain is down: its return should show at once."""


class ChainWatch:
    """Keeps ``up`` by network, and the gauges."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._watched: list[tuple[LocalFacilitator, Chain]] = []
        self.up: dict[str, bool] = {}

    def add(self, facilitator: LocalFacilitator, chains: Sequence[Chain]) -> None:
        """Watch these chains, too."""
        self._watched += [(facilitator, chain) for chain in chains]
        self.up |= {chain.caip2: True for chain in chains}

    async def run(self) -> None:
        """Look for ever."""
        while True:
            for facilitator, chain in self._watched:
                await self._look(facilitator, chain)
            await asyncio.sleep(INTERVAL if all(self.up.values()) else RETRY)

    async def _look(self, facilitator: LocalFacilitator, chain: Chain) -> None:
        keys = [
            sender.rpartition(":")[2]
            for sender in facilitator.senders()
            if sender.startswith(f"{chain.caip2}:")
        ]
        try:
            balances = [await native_balance(facilitator.client(chain.caip2).rpc, key) for key in keys]
        except VerificationUnavailable as error:
            self._set(chain, False, str(error))
            return
        self._set(chain, True, "")
        self._metrics.signer_balance.labels(chain.caip2).set(min(balances, default=0))

    def _set(self, chain: Chain, up: bool, detail: str) -> None:
        if self.up[chain.caip2] != up:
            log.warning("chain", network=chain.caip2, up=up, detail=detail)
        self.up[chain.caip2] = up
        self._metrics.facilitator_up.labels(chain.caip2).set(int(up))

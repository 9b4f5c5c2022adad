"""CONXA put together: its rail, the desk for wallets, and the watch on the service."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from facilitator.http1.client import Client
from gateway.conxa.charging import Charger
from gateway.conxa.connections import Mint
from gateway.conxa.desk import Desk, Provider
from gateway.conxa.own_sessions import OwnSessions
from gateway.conxa.sessions import Sessions
from gateway.conxa.wallets import Wallets
from gateway.conxa.wire import Conxa
from gateway.observe import Metrics, log
from gateway.rails.conxa import Access, ConxaRail
from gateway.settings import Conxa as Configured
from gateway.settings import Server
from gateway.store import Store

_EVERY = 10.0
"""Seconds between looks at CONXA's health."""


class ConxaWatch:
    """Whether CONXA says that it works: shown by ``/readyz``, decides nothing."""

    def __init__(self, conxa: Conxa) -> None:
        self._conxa = conxa
        self.up = True

    async def run(self) -> None:
        """Look again and again; ends only by being cancelled."""
        while True:
            up = await self._conxa.healthy()
            if up is not self.up:
                log.warning("conxa", up=up)
            self.up = up
            await asyncio.sleep(_EVERY)


@dataclass(frozen=True, slots=True)
class ConxaParts:
    """What the rest of the gateway needs of it."""

    rail: ConxaRail
    desk: Desk
    watch: ConxaWatch


def conxa_parts(
    configured: Configured,
    client: Client,
    store: Store,
    metrics: Metrics,
    server: Server,
    gateway: str,
) -> ConxaParts:
    """``gateway`` names this gateway among those that charge with the same API key."""
    api_key, public_url = configured.api_key.get_secret_value(), server.public_url.rstrip("/")
    conxa = Conxa(client, configured.base_url, api_key, configured.timeout)
    mint, wallets = Mint(api_key), Wallets(store)
    sessions = Sessions(conxa, configured.rate_limit_timeout)
    charger = Charger(conxa, wallets, metrics, gateway=gateway, patience=configured.settle_within)
    rail = ConxaRail(
        Access(configured.provider_id, public_url, configured.accept_sessions),
        mint=mint,
        sessions=sessions,
        wallets=wallets,
        charger=charger,
        own=OwnSessions(wallets, charger),
        settle_within=configured.settle_within,
    )
    provider = Provider(configured.provider_id, configured.provider_type, public_url)
    desk = Desk(provider, mint=mint, sessions=sessions, wallets=wallets, origins=server.cors_origins)
    return ConxaParts(rail, desk, ConxaWatch(conxa))

"""Who verifies and settles, put together from the settings, and watched."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from facilitator.base import Facilitator
from facilitator.by_network import ByNetwork
from facilitator.chain import Chain
from facilitator.endpoint import Endpoint
from facilitator.http1.client import Client
from facilitator.hybrid import HybridFacilitator
from facilitator.local import LocalFacilitator
from facilitator.packing import Batches
from facilitator.pool import Patience
from facilitator.remote import RemoteFacilitator
from gateway.observe import Metrics, log
from gateway.settings import X402, Network
from gateway.settings import Facilitator as Configured

_EVERY = 2.0
"""Seconds between looks at how remote facilitators do."""
_AT_START = 2.0
"""Seconds a start waits for them."""


@dataclass(frozen=True, slots=True)
class Group:
    """One facilitator and the networks it is for."""

    facilitator: LocalFacilitator | RemoteFacilitator
    networks: tuple[str, ...]
    """CAIP-2 ids."""


def groups(x402: X402, client: Client, public_url: str) -> list[Group]:
    """One for each configured facilitator; ``client`` is for RPC."""
    wanted: list[tuple[Configured, list[Network]]] = []
    for network in x402.chains:
        configured = x402.facilitators[network.name]
        same = next((networks for each, networks in wanted if each == configured), None)
        if same is None:
            wanted.append((configured, [network]))
        else:
            same.append(network)
    return [_group(configured, networks, x402, client, public_url) for configured, networks in wanted]


def together(made: Sequence[Group]) -> Facilitator:
    """All of them as one."""
    return ByNetwork({network: group.facilitator for group in made for network in group.networks})


def _group(
    configured: Configured, networks: Sequence[Network], x402: X402, client: Client, public_url: str
) -> Group:
    chains = [chain_of(network) for network in networks if network.evm]
    ids = tuple(network.caip2 for network in networks)
    if configured.mode == "local":
        keys = [key.get_secret_value() for key in configured.keys]
        return Group(local(chains, keys, client, x402.batch), ids)
    headers = {name: secret.get_secret_value() for name, secret in configured.headers.items()}
    kind = HybridFacilitator if configured.mode == "hybrid" else RemoteFacilitator
    patience = Patience(verify_try=configured.timeout, verify=configured.timeout * 2)
    remote = kind(
        [Endpoint(url, headers) for url in configured.urls],
        client,
        chains,
        [network.caip2 for network in networks if not network.evm],
        worth=x402.worth,
        verify_on_chain_over=configured.verify_on_chain_over,
        resource=public_url,
        patience=patience,
    )
    return Group(remote, ids)


def local(chains: Sequence[Chain], keys: Sequence[str], client: Client, batches: Batches) -> LocalFacilitator:
    """One that settles with keys of our own."""

    def told(network: str, together: bool) -> None:
        if together:
            log.info("batching", network=network, max_size=batches.max_size)
        else:
            log.warning("batching", network=network, reason="no Multicall3 there: settled one by one")

    return LocalFacilitator(chains, keys, client, batches=batches, told=told)


def chain_of(network: Network) -> Chain:
    """A network as the facilitators know it."""
    return Chain(
        chain_id=network.chain_id,
        caip2=network.caip2,
        rpc=network.rpc,
        confirmations=network.confirmations,
        finality=network.finality,
        settle_within=network.settle_within,
        max_fee_gwei=network.max_fee_gwei,
    )


class RemoteWatch:
    """How remote facilitators do, for metrics and the log."""

    def __init__(self, made: Sequence[Group], metrics: Metrics) -> None:
        self._remotes = [
            group.facilitator for group in made if isinstance(group.facilitator, RemoteFacilitator)
        ]
        self._metrics = metrics
        self._doubted: dict[str, int] = {}
        self.up: dict[str, bool] = {}

    async def open(self) -> None:
        """Ask what they support, so that the first challenge is complete: of those that answer soon."""
        try:
            async with asyncio.timeout(_AT_START):
                await asyncio.gather(*(remote.refresh() for remote in self._remotes))
        except TimeoutError:
            log.warning("facilitator", reason="slow to say what it supports")

    async def run(self) -> None:
        """Look for ever; each facilitator's own loop asks it what it supports."""
        loops = [asyncio.create_task(remote.run()) for remote in self._remotes]
        try:
            while not any(loop.done() for loop in loops):
                self._look()
                await asyncio.sleep(_EVERY)
            await asyncio.gather(*loops)
        finally:
            for loop in loops:
                loop.cancel()

    def _look(self) -> None:
        for health in (health for remote in self._remotes for health in remote.health()):
            self._metrics.facilitator_up.labels(health.name).set(int(health.up))
            if health.age is not None:
                self._metrics.supported_age.labels(health.name).set(health.age)
            if self.up.get(health.name, True) != health.up:
                log.warning("facilitator", url=health.name, up=health.up)
            if health.doubted > self._doubted.get(health.name, 0):
                log.error("facilitator", url=health.name, doubted=health.doubted)
            self.up[health.name], self._doubted[health.name] = health.up, health.doubted

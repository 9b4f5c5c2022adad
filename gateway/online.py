"""``tollway check --online``: asks store, chains, tokens, keys and CONXA before money depends on them."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from coincurve import PrivateKey
from pydantic import SecretStr

from facilitator.base import VerificationUnavailable
from facilitator.chain import MAX_SKEW
from facilitator.exact_evm import address_of, domain_separator
from facilitator.http1.client import Client
from facilitator.remote import RemoteFacilitator
from facilitator.rpc import Rpc, quantity
from facilitator.token_facts import is_blacklisted, native_balance, token_facts
from gateway.conxa.wire import Conxa, ConxaUnavailable
from gateway.errors import StoreUnavailable, StoreUnfit
from gateway.facilitators import groups
from gateway.settings import X402, FacilitatorServer, Network, Settings
from gateway.settings import Conxa as Wallets
from gateway.store.connect import store_of
from gateway.store.sqlite_file import FILE
from policies.money import Asset

LOW_GAS = 10**15
"""Wei under which a settlement key is called short of gas (a thousandth of the native token)."""
_NOBODY = "tollway-check"
"""No connection has this name: theirs end in hex."""


async def findings(settings: Settings) -> list[str]:
    """Everything that would stop or lose a payment, one line each; empty when all is well."""
    found = [line async for line in _store(settings)]
    if settings.rails.x402 is not None:
        found += [line async for line in _x402(settings.rails.x402)]
        found += [line async for line in _elsewhere(settings.rails.x402, settings.server.public_url)]
    if settings.rails.conxa is not None:
        found += [line async for line in _conxa(settings.rails.conxa)]
    if settings.facilitator is not None:
        found += [line async for line in _for_others(settings.facilitator)]
    return list(dict.fromkeys(found))


async def _store(settings: Settings) -> AsyncIterator[str]:
    if settings.store.url == "embedded" and not (Path(settings.store.path) / FILE).exists():
        if not _can_be_made(Path(settings.store.path)):
            yield f"store: cannot keep payments in {settings.store.path}"
        return
    store = store_of(settings)
    try:
        await store.open()
    except (StoreUnavailable, StoreUnfit) as error:
        yield f"store: {error}"
    finally:
        await store.close()


def _can_be_made(folder: Path) -> bool:
    """Without making it: the one who asks may not be the one who serves."""
    there = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)


async def _x402(x402: X402) -> AsyncIterator[str]:
    with Client() as client:
        for network in (each for each in x402.chains if each.evm):
            problems = [line async for line in _endpoints(client, network)]
            for line in problems:
                yield f"network {network.name}: {line}"
            if len(problems) == len(network.rpc):
                continue
            rpc = Rpc(client, network.rpc, network.chain_id)
            try:
                async for line in _network(rpc, network, x402):
                    yield f"network {network.name}: {line}"
            except VerificationUnavailable as error:
                yield f"network {network.name}: rpc: {error}"


async def _elsewhere(x402: X402, public_url: str) -> AsyncIterator[str]:
    """Facilitators of others: each answers, and where only they can tell, one lists our payments."""
    with Client() as client:
        for group in groups(x402, client, public_url):
            remote = group.facilitator
            if not isinstance(remote, RemoteFacilitator):
                continue
            await remote.refresh()
            for health in remote.health():
                if health.age is None:
                    yield f"facilitator {health.name}: /supported gives no list of payments"
            for network in (each for each in group.networks if not each.startswith("eip155:")):
                if not remote.supports(network, "exact"):
                    yield f"network {network}: no facilitator lists `exact` payments there: it is not offered"
            await remote.close()


async def _conxa(wallets: Wallets) -> AsyncIterator[str]:
    """Its health, and whether our key is taken: 401 is what a question about nobody must not get."""
    with Client() as client:
        key = wallets.api_key.get_secret_value()
        conxa = Conxa(client, wallets.base_url, key, wallets.timeout)
        if not await conxa.healthy():
            yield f"conxa: {wallets.base_url}/health does not say `ok`"
        try:
            await conxa.session(_NOBODY)
        except ConxaUnavailable as error:
            yield f"conxa: {wallets.base_url}: {error}"


async def _for_others(served: FacilitatorServer) -> AsyncIterator[str]:
    """What ``tollway facilitator`` needs; nobody's address is known beforehand."""
    with Client() as client:
        for network in served.chains:
            problems = [line async for line in _endpoints(client, network)]
            if len(problems) < len(network.rpc):
                rpc = Rpc(client, network.rpc, network.chain_id)
                problems += [line async for line in _settleable(rpc, network, served.settlement_keys)]
            for line in problems:
                yield f"network {network.name}: {line}"


async def _endpoints(client: Client, network: Network) -> AsyncIterator[str]:
    """Each by itself: those that answer hide those that do not, until they fail, too."""
    for number, url in enumerate(network.rpc, 1):
        try:
            away = await _away(Rpc(client, [url], network.chain_id))
        except VerificationUnavailable as error:
            yield f"rpc {number} of {len(network.rpc)}: {error}"
        else:
            if abs(away) > MAX_SKEW:
                side = "ahead of" if away > 0 else "behind"
                yield (
                    f"rpc {number} of {len(network.rpc)}: its latest block is {abs(away):.0f} s {side} "
                    "this machine's clock: nothing can be verified"
                )


async def _away(rpc: Rpc) -> float:
    """Seconds the chain is ahead of the host; an idle one that waits for transactions is not behind."""
    latest = await _block_time(rpc, "latest") - time.time()
    return latest if latest >= -MAX_SKEW else await _block_time(rpc, "pending") - time.time()


async def _block_time(rpc: Rpc, tag: str) -> int:
    block = await rpc.call("eth_getBlockByNumber", tag, False)
    return quantity(block.get("timestamp") if isinstance(block, dict) else None)


async def _network(rpc: Rpc, network: Network, x402: X402) -> AsyncIterator[str]:
    pay_to = x402.pay_to[network.name]
    for asset in network.assets.values():
        async for line in _asset(rpc, network, asset):
            yield f"asset {asset.symbol}: {line}"
        if await is_blacklisted(rpc, asset.address, pay_to):
            yield f"asset {asset.symbol}: pay_to {pay_to} is blacklisted by the token"
    async for line in _gas(rpc, x402.facilitators[network.name].keys):
        yield line


async def _settleable(rpc: Rpc, network: Network, keys: Sequence[SecretStr]) -> AsyncIterator[str]:
    try:
        for asset in network.assets.values():
            async for line in _asset(rpc, network, asset):
                yield f"asset {asset.symbol}: {line}"
        async for line in _gas(rpc, keys):
            yield line
    except VerificationUnavailable as error:
        yield f"rpc: {error}"


async def _gas(rpc: Rpc, keys: Sequence[SecretStr]) -> AsyncIterator[str]:
    for sender in _senders(keys):
        balance = await native_balance(rpc, sender)
        if balance < LOW_GAS:
            yield f"settlement key {sender} has {balance} wei for gas: settlements will fail"


async def _asset(rpc: Rpc, network: Network, asset: Asset) -> AsyncIterator[str]:
    facts = await token_facts(rpc, asset.address)
    if not facts.deployed:
        yield f"there is no contract at {asset.address}"
        return
    for what, ours, theirs in (
        ("name", asset.name, facts.name),
        ("version", asset.version, facts.version),
        ("decimals", asset.decimals, facts.decimals),
    ):
        if theirs is not None and ours != theirs:
            yield f"{what} is {theirs!r} on the chain, {ours!r} in the configuration"
    expected = domain_separator(asset.name, asset.version, network.chain_id, asset.address)
    if facts.domain_separator is not None and facts.domain_separator != expected:
        yield "name and version make another EIP-712 domain than the token's: no signature would be good"


def _senders(keys: Sequence[SecretStr]) -> list[str]:
    private = [PrivateKey.from_hex(key.get_secret_value().removeprefix("0x")) for key in keys]
    return [address_of(key.public_key) for key in private]

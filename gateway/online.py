"""``tollway check --online``: asks store, chains, tokens and keys before money depends on them."""

from __future__ import annotations

from collections.abc import AsyncIterator

from coincurve import PrivateKey

from facilitator.base import VerificationUnavailable
from facilitator.exact_evm import address_of, domain_separator
from facilitator.rpc import Rpc, open_session
from facilitator.token_facts import is_blacklisted, native_balance, token_facts
from gateway.errors import StoreUnavailable, StoreUnfit
from gateway.settings import X402, Network, Settings
from gateway.store.connect import store_of
from policies.money import Asset

LOW_GAS = 10**15
"""Wei under which a settlement key is called short of gas (a thousandth of the native token)."""


async def findings(settings: Settings) -> list[str]:
    """Everything that would stop or lose a payment, one line each; empty when all is well."""
    found = [line async for line in _store(settings)]
    if settings.rails.x402 is not None:
        found += [line async for line in _x402(settings.rails.x402)]
    return found


async def _store(settings: Settings) -> AsyncIterator[str]:
    store = store_of(settings)
    try:
        await store.open()
    except (StoreUnavailable, StoreUnfit) as error:
        yield f"store: {error}"
    finally:
        await store.close()


async def _x402(x402: X402) -> AsyncIterator[str]:
    async with open_session() as session:
        for network in x402.chains:
            rpc = Rpc(session, network.rpc, network.chain_id)
            try:
                async for line in _network(rpc, network, x402):
                    yield f"network {network.name}: {line}"
            except VerificationUnavailable as error:
                yield f"network {network.name}: rpc: {error}"


async def _network(rpc: Rpc, network: Network, x402: X402) -> AsyncIterator[str]:
    pay_to = x402.pay_to[network.name]
    for asset in network.assets.values():
        async for line in _asset(rpc, network, asset):
            yield f"asset {asset.symbol}: {line}"
        if await is_blacklisted(rpc, asset.address, pay_to):
            yield f"asset {asset.symbol}: pay_to {pay_to} is blacklisted by the token"
    for sender in _senders(x402):
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


def _senders(x402: X402) -> list[str]:
    keys = [PrivateKey.from_hex(key.get_secret_value().removeprefix("0x")) for key in x402.facilitator.keys]
    return [address_of(key.public_key) for key in keys]

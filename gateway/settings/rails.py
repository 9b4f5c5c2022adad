"""The ``rails`` section compiled: who is paid, where, and who settles."""

from __future__ import annotations

import stat
from collections.abc import Mapping

from pydantic import SecretStr

from gateway.settings.addresses import PUBLISHED_KEYS, ZERO, checksummed, private_key
from gateway.settings.document import Document
from gateway.settings.model import ConxaEntry, RailsEntry, X402Entry
from gateway.settings.networks import builtin_networks, find_network
from gateway.settings.problems import Path, Problems, did_you_mean
from gateway.settings.scalars import whole_seconds
from gateway.settings.shape import shape
from gateway.settings.tree import X402, Conxa, Facilitator, Network, Rails

RAILS = tuple(RailsEntry.model_fields)
"""Every rail that exists."""

_X402: Path = ("rails", "x402")
_CONXA: Path = ("rails", "conxa")
_WORLD_READABLE = stat.S_IROTH


def compile_rails(document: Document, defined: Mapping[str, Network], problems: Problems) -> Rails | None:
    """The configured rails; None after noting what is wrong with them."""
    entry = shape(RailsEntry, document, ("rails",), problems)
    if entry is None:
        return None
    before = len(problems.errors)
    x402 = None if entry.x402 is None else _X402Compiler(document, defined, problems).compile(entry.x402)
    conxa = None if entry.conxa is None else _conxa(document, entry.conxa, problems)
    return Rails(x402, conxa) if len(problems.errors) == before else None


def _conxa(document: Document, entry: ConxaEntry, problems: Problems) -> Conxa:
    key = entry.api_key.get_secret_value()
    provider_id = entry.provider_id or _provider_of(key)
    if not key.isascii() or not key.isprintable() or not key.strip():
        problems.error(document.places, (*_CONXA, "api_key"), "is no API key")
    elif not provider_id:
        problems.error(
            document.places,
            (*_CONXA, "api_key"),
            "names no provider in its third part: set rails.conxa.provider_id",
        )
    return Conxa(
        base_url=entry.base_url.rstrip("/"),
        api_key=entry.api_key,
        provider_id=provider_id,
        provider_type=entry.provider_type,
        accept_sessions=entry.accept_sessions,
        timeout=entry.timeout,
        settle_within=entry.settle_within,
        rate_limit_timeout=entry.rate_limit_timeout,
    )


def _provider_of(key: str) -> str:
    """As the official SDK finds it: ``pk_live_PROVIDER_...``. Where there is none, that takes the beginning
    of the key itself, and the QR code would show it to everybody."""
    parts = key.split("_")
    return parts[2] if len(parts) > 2 else ""


class _X402Compiler:
    """One ``rails.x402`` section."""

    def __init__(self, document: Document, defined: Mapping[str, Network], problems: Problems) -> None:
        self._document = document
        self._defined = defined
        self._problems = problems

    def compile(self, entry: X402Entry) -> X402:
        chains = self._networks(entry)
        self._check_rpc(chains)
        if not whole_seconds(entry.max_timeout):
            self._error(("max_timeout",), "must be whole seconds: clients are told no fractions")
        return X402(
            pay_to=self._pay_to(entry, chains),
            networks=tuple(chain.name for chain in chains),
            max_timeout=entry.max_timeout,
            protocols=frozenset(entry.protocols),
            exclusive=entry.exclusive,
            facilitator=self._facilitator(entry, chains),
            chains=tuple(chains),
        )

    def _error(self, steps: Path, message: str) -> None:
        self._problems.error(self._document.places, (*_X402, *steps), message)

    def _networks(self, entry: X402Entry) -> list[Network]:
        found: list[Network] = []
        for index, name in enumerate(entry.networks):
            network = find_network(name, self._defined)
            if network is None:
                shown = self._document.places.shown((*_X402, "networks", index), name)
                close = did_you_mean(name, {**builtin_networks(), **self._defined})
                self._error(("networks", index), f"unknown network {shown}{close}")
            elif any(other.chain_id == network.chain_id for other in found):
                self._error(("networks", index), f"{network.caip2} is in the list twice")
            else:
                found.append(network)
        return found

    def _check_rpc(self, chains: list[Network]) -> None:
        for network in chains:
            if not network.rpc:
                self._error(
                    ("networks",),
                    f"a local facilitator needs an RPC for {network.name}: set networks.{network.name}.rpc",
                )

    def _pay_to(self, entry: X402Entry, chains: list[Network]) -> dict[str, str]:
        whole = entry.pay_to.get("*")
        if whole is not None:
            return {network.name: self._receiver(whole, (), network) for network in chains}
        for name in entry.pay_to:
            if find_network(name, self._defined) not in chains:
                self._error(("pay_to", name), "is not one of rails.x402.networks")
        found: dict[str, str] = {}
        for network in chains:
            key = next((name for name in entry.pay_to if find_network(name, self._defined) == network), None)
            if key is None:
                self._error(("pay_to",), f"names no address for network {network.name}")
            else:
                found[network.name] = self._receiver(entry.pay_to[key], (key,), network)
        return found

    def _receiver(self, given: str, steps: Path, network: Network) -> str:
        address = given
        try:
            address = checksummed(given)
        except ValueError as error:
            self._error(("pay_to", *steps), str(error))
        if address == ZERO:
            self._error(("pay_to", *steps), "is the zero address: nobody could spend what it gets")
        if any(address == asset.address for asset in network.assets.values()):
            self._error(("pay_to", *steps), "is the token itself: what it gets is lost")
        return address

    def _facilitator(self, entry: X402Entry, chains: list[Network]) -> Facilitator:
        if not entry.facilitator.key:
            self._error(("facilitator", "key"), "is required: a local facilitator pays gas with it")
        keys = [
            self._key(key.get_secret_value(), index, chains)
            for index, key in enumerate(entry.facilitator.key)
        ]
        if len(set(keys)) != len(keys):
            self._error(("facilitator", "key"), "names one key twice")
        return Facilitator(entry.facilitator.mode, tuple(SecretStr(key) for key in keys))

    def _key(self, text: str, index: int, chains: list[Network]) -> str:
        steps: Path = ("facilitator", "key")
        if (*_X402, *steps, index) in self._document.places.values:
            steps = (*steps, index)
        self._warn_readable(steps)
        try:
            key = private_key(text)
        except ValueError as error:
            self._error(steps, str(error))
            return text
        if key in PUBLISHED_KEYS and not all(network.testnet for network in chains):
            self._error(steps, "is a published test key: whatever is sent with it on a real network is lost")
        return key

    def _warn_readable(self, steps: Path) -> None:
        for file in self._document.sources.get((*_X402, *steps), []):
            if file.stat().st_mode & _WORLD_READABLE:
                self._problems.warn(
                    self._document.places, (*_X402, *steps), "every user can read the key's file (chmod 600)"
                )

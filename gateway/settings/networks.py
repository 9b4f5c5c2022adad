"""Networks: the built-in registry (``facilitator/networks.yaml``), and what a configuration makes of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path as File
from typing import Any

import facilitator
from gateway.settings.addresses import ZERO, checksummed
from gateway.settings.document import Document, read
from gateway.settings.model import AssetEntry, ForeignNetworkEntry, NetworkEntry
from gateway.settings.problems import Path, Problems, did_you_mean
from gateway.settings.shape import shape
from gateway.settings.tree import V1_NAMES, Network
from policies.money import Asset

_FOREIGN = re.compile(r"(?!eip155:)[-a-z0-9]{3,8}:[-_a-zA-Z0-9]{1,32}\Z")
"""CAIP-2, of networks that are not EVM."""
_CAIP2 = re.compile(r"eip155:([1-9][0-9]{0,17})\Z")


@cache
def _registry() -> dict[str, dict[str, Any]]:
    """The registry as written, by name."""
    problems = Problems()
    file = File(facilitator.__file__).with_name("networks.yaml")
    document = read(file, file.name, 0, {}, problems)
    problems.check()
    assert document is not None and isinstance(document.data, dict)
    return document.data


@cache
def builtin_networks() -> Mapping[str, Network]:
    """Every network Tollway knows without being told, by name; none of them has an RPC."""
    return {name: _builtin(name, entry) for name, entry in _registry().items()}


def _builtin(name: str, entry: dict[str, Any]) -> Network:
    tokens: dict[str, dict[str, Any]] = entry.get("assets", {})
    permit2 = {symbol for symbol, token in tokens.items() if token.get("transfer") == "permit2"}
    assets = {
        symbol: Asset(
            symbol, checksummed(token["address"]), token["decimals"], token["name"], token["version"]
        )
        for symbol, token in tokens.items()
        if symbol not in permit2
    }
    return Network(
        name,
        entry["chain_id"],
        v1_name=_offered(entry.get("v1_name")),
        assets=assets,
        testnet=entry.get("testnet", False),
        permit2=frozenset(permit2),
    )


def v1_chain_ids() -> dict[str, int]:
    """The chain every x402 v1 network name stands for."""
    return {entry["v1_name"]: entry["chain_id"] for entry in _registry().values() if "v1_name" in entry}


def _offered(v1_name: str | None) -> str | None:
    return v1_name if v1_name in V1_NAMES else None


def compile_networks(document: Document, problems: Problems) -> dict[str, Network]:
    """The networks of the ``networks`` section, by name; problems are noted."""
    section = document.at(("networks",))
    if section is None:
        return {}
    if not isinstance(section, dict):
        problems.error(document.places, ("networks",), "must be a mapping of names")
        return {}
    found: dict[str, Network] = {}
    for name in section:
        path: Path = ("networks", name)
        if _FOREIGN.match(str(name)):
            foreign = shape(ForeignNetworkEntry, document, path, problems)
            if foreign is not None:
                found[str(name)] = _foreign(str(name), foreign)
            continue
        entry = shape(NetworkEntry, document, path, problems)
        network = entry and _NetworkCompiler(document, path, problems).compile(str(name), entry)
        if network and network.name in found:
            problems.error(document.places, path, f"is network `{network.name}` again", key=True)
        elif network:
            found[network.name] = network
    return found


def find_network(name: str, defined: Mapping[str, Network]) -> Network | None:
    """A network by name or CAIP-2 id; what the file defines comes first."""
    known = {**builtin_networks(), **defined}
    if name in known:
        return known[name]
    by_id = [*defined.values(), *builtin_networks().values()]
    return next((network for network in by_id if network.caip2 == name), None)


def _foreign(name: str, entry: ForeignNetworkEntry) -> Network:
    assets = {
        symbol: Asset(symbol, asset.address, asset.decimals, "", "") for symbol, asset in entry.assets.items()
    }
    return Network(name, 0, settle_within=entry.settle_within, assets=assets)


class _NetworkCompiler:
    """One entry of ``networks`` laid over the built-in network of its name, or of its chain."""

    def __init__(self, document: Document, path: Path, problems: Problems) -> None:
        self._places = document.places
        self._path = path
        self._problems = problems

    def compile(self, name: str, entry: NetworkEntry) -> Network | None:
        caip2 = _CAIP2.match(name)
        known = find_network(name, {})
        own = known.chain_id if known else int(caip2[1]) if caip2 else None
        chain_id = entry.chain_id or own
        if chain_id is None:
            self._error(("chain_id",), f"is required: no built-in network is called that{_close(name)}")
            return None
        if own is not None and chain_id != own:
            self._error(("chain_id",), f"contradicts the network's name: `{name}` is chain {own}")
            return None
        if ":" in name and not caip2:
            self._problems.error(self._places, self._path, "is no CAIP-2 id of a network", key=True)
            return None
        same = known or find_network(f"eip155:{chain_id}", {}) or Network(name, chain_id)
        own_assets = {symbol: self._asset(symbol, asset) for symbol, asset in entry.assets.items()}
        return replace(
            same,
            name=known.name if known else name,
            v1_name=self._v1_name(entry, chain_id, known),
            rpc=entry.rpc,
            confirmations=entry.confirmations,
            finality=entry.finality,
            settle_within=entry.settle_within,
            max_fee_gwei=entry.max_fee_gwei,
            assets=own_assets | {key: each for key, each in same.assets.items() if key not in own_assets},
            permit2=same.permit2.difference(own_assets),
        )

    def _v1_name(self, entry: NetworkEntry, chain_id: int, known: Network | None) -> str | None:
        if entry.v1_name is None:
            return known.v1_name if known else None
        names = v1_chain_ids()
        if entry.v1_name not in names:
            self._error(("v1_name",), f"no v1 client knows this name{did_you_mean(entry.v1_name, names)}")
        elif names[entry.v1_name] != chain_id:
            self._error(("v1_name",), f"belongs to chain {names[entry.v1_name]}; this is chain {chain_id}")
        return _offered(entry.v1_name)

    def _asset(self, symbol: str, entry: AssetEntry) -> Asset:
        address = entry.address
        try:
            address = checksummed(entry.address)
        except ValueError as error:
            self._error(("assets", symbol, "address"), str(error))
        if address == ZERO:
            self._error(("assets", symbol, "address"), "is the zero address")
        return Asset(symbol, address, entry.decimals, entry.name, entry.version)

    def _error(self, steps: Path, message: str) -> None:
        self._problems.error(self._places, (*self._path, *steps), message)


def _close(name: str) -> str:
    return did_you_mean(name, builtin_networks())

"""The ``facilitator`` section compiled: where others are settled for, with which keys, and who may ask."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.settings.document import Document
from gateway.settings.keys import compile_keys, place
from gateway.settings.model import FacilitatorServerEntry
from gateway.settings.networks import builtin_networks, find_network
from gateway.settings.problems import Path, Problems, did_you_mean
from gateway.settings.shape import shape
from gateway.settings.tree import FacilitatorServer, Network

_AT: Path = ("facilitator",)
LEAST = 16
"""Characters of a bearer token: shorter ones can be guessed."""


def compile_facilitator(
    document: Document, defined: Mapping[str, Network], problems: Problems
) -> FacilitatorServer | None:
    """What is served to others; None where nothing is, or after noting what is wrong with it."""
    if document.at(_AT) is None:
        return None
    entry = shape(FacilitatorServerEntry, document, _AT, problems)
    return None if entry is None else _Compiler(document, defined, problems).compile(entry)


class _Compiler:
    """One ``facilitator`` section."""

    def __init__(self, document: Document, defined: Mapping[str, Network], problems: Problems) -> None:
        self._document = document
        self._defined = defined
        self._problems = problems

    def compile(self, entry: FacilitatorServerEntry) -> FacilitatorServer:
        chains = self._networks(entry)
        settlement = compile_keys(entry.key, (*_AT, "key"), chains, self._document, self._problems)
        for index, key in enumerate(entry.keys):
            self._check_token(key.get_secret_value(), index)
        if not entry.keys and not entry.listen.loopback:
            self._error(("listen",), "can be reached from other machines: set facilitator.keys")
        return FacilitatorServer(
            listen=entry.listen,
            chains=tuple(chains),
            settlement_keys=settlement,
            keys=entry.keys,
            max_body=entry.max_body,
        )

    def _networks(self, entry: FacilitatorServerEntry) -> list[Network]:
        found: list[Network] = []
        for index, name in enumerate(entry.networks):
            network = find_network(name, self._defined)
            if network is None:
                shown = self._document.places.shown((*_AT, "networks", index), name)
                close = did_you_mean(name, {**builtin_networks(), **self._defined})
                self._error(("networks", index), f"unknown network {shown}{close}")
            elif any(other.chain_id == network.chain_id for other in found):
                self._error(("networks", index), f"{network.caip2} is in the list twice")
            else:
                self._check_network(network, index)
                found.append(network)
        return found

    def _check_network(self, network: Network, index: int) -> None:
        if not network.evm:
            self._error(("networks", index), f"{network.name} is not EVM: nothing is settled there from here")
        elif not network.rpc:
            self._error(("networks", index), f"settling needs an RPC: set networks.{network.name}.rpc")
        if not network.assets:
            self._error(
                ("networks", index),
                f"there is no asset to settle: name one in networks.{network.name}.assets",
            )

    def _check_token(self, token: str, index: int) -> None:
        where = place(self._document, (*_AT, "keys"), index)[len(_AT) :]
        if not (token.isascii() and token.isprintable()) or " " in token:
            self._error(where, "cannot be sent as a bearer token")
        elif len(token) < LEAST:
            self._error(where, f"is too short: at least {LEAST} characters")

    def _error(self, steps: Path, message: str) -> None:
        self._problems.error(self._document.places, (*_AT, *steps), message)

"""The ``rails`` section compiled: who is paid, where, and who settles."""

from __future__ import annotations

from collections.abc import Mapping

from facilitator.packing import Batches
from gateway.settings.document import Document
from gateway.settings.facilitators import X402_PATH, compile_facilitators
from gateway.settings.model import ConxaEntry, RailsEntry, X402Entry
from gateway.settings.networks import builtin_networks, find_network
from gateway.settings.problems import Path, Problems, did_you_mean
from gateway.settings.receivers import compile_receivers
from gateway.settings.scalars import whole_seconds
from gateway.settings.shape import shape
from gateway.settings.tree import X402, Conxa, Facilitator, Network, Rails

RAILS = tuple(RailsEntry.model_fields)
"""Every rail that exists."""

_CONXA: Path = ("rails", "conxa")


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
    conxa = Conxa(
        base_url=entry.base_url.rstrip("/"),
        api_key=entry.api_key,
        provider_id=provider_id,
        provider_type=entry.provider_type,
        accept_sessions=entry.accept_sessions,
        timeout=entry.timeout,
        settle_within=entry.settle_within,
        rate_limit_timeout=entry.rate_limit_timeout,
    )
    if not conxa.local and not conxa.base_url.startswith("https://"):
        message = "must be https://: the API key and people's sessions would be sent for everybody to read"
        problems.error(document.places, (*_CONXA, "base_url"), message)
    return conxa


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
        facilitators = compile_facilitators(entry, chains, self._document, self._error, self._problems)
        self._check_rpc(chains, facilitators)
        if not whole_seconds(entry.max_timeout):
            self._error(("max_timeout",), "must be whole seconds: clients are told no fractions")
        return X402(
            pay_to=self._pay_to(entry, chains),
            networks=tuple(chain.name for chain in chains),
            max_timeout=entry.max_timeout,
            protocols=frozenset(entry.protocols),
            exclusive=entry.exclusive,
            batch=Batches(entry.batch.max_wait, entry.batch.max_size),
            facilitators=facilitators,
            chains=tuple(chains),
        )

    def _error(self, steps: Path, message: str) -> None:
        self._problems.error(self._document.places, (*X402_PATH, *steps), message)

    def _networks(self, entry: X402Entry) -> list[Network]:
        found: list[Network] = []
        for index, name in enumerate(entry.networks):
            network = find_network(name, self._defined)
            if network is None:
                shown = self._document.places.shown((*X402_PATH, "networks", index), name)
                close = did_you_mean(name, {**builtin_networks(), **self._defined})
                self._error(("networks", index), f"unknown network {shown}{close}")
            elif any(other.caip2 == network.caip2 for other in found):
                self._error(("networks", index), f"{network.caip2} is in the list twice")
            else:
                found.append(network)
        return found

    def _check_rpc(self, chains: list[Network], facilitators: Mapping[str, Facilitator]) -> None:
        """Whoever settles: what became of an authorization is only ever proven by the chain."""
        for network in chains:
            if not network.evm and facilitators[network.name].mode != "remote":
                self._error(
                    ("networks",), f"{network.name} is not EVM: it needs a facilitator with `mode: remote`"
                )
            elif network.evm and not network.rpc:
                mode = facilitators[network.name].mode
                self._error(
                    ("networks",),
                    f"a {mode} facilitator needs an RPC for {network.name}: set networks.{network.name}.rpc",
                )

    def _pay_to(self, entry: X402Entry, chains: list[Network]) -> dict[str, str]:
        found = compile_receivers(entry.pay_to, chains, self._defined, ("pay_to",), self._error)
        for network in chains:
            if network.name not in found:
                self._error(("pay_to",), f"names no address for network {network.name}")
        return found

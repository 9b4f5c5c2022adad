"""``rails.x402.facilitator`` and ``facilitators`` compiled: who verifies and settles on each network."""

from __future__ import annotations

import stat
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from pydantic import SecretStr

from gateway.settings.addresses import PUBLISHED_KEYS, private_key
from gateway.settings.document import Document
from gateway.settings.model import FacilitatorEntry, X402Entry
from gateway.settings.problems import Path, Problems
from gateway.settings.receivers import Note
from gateway.settings.scalars import Address
from gateway.settings.tree import Facilitator, Network

X402_PATH: Path = ("rails", "x402")
_WORLD_READABLE = stat.S_IROTH


def compile_facilitators(
    entry: X402Entry, chains: Sequence[Network], document: Document, note: Note, problems: Problems
) -> Mapping[str, Facilitator]:
    """The facilitator of each network, by name; ``note`` places problems below ``rails.x402``."""
    for name in entry.facilitators:
        if not any(name in (network.name, network.caip2) for network in chains):
            note(("facilitators", name), "is not one of rails.x402.networks")
    found: dict[str, Facilitator] = {}
    for network in chains:
        own = next((name for name in entry.facilitators if name in (network.name, network.caip2)), None)
        steps: Path = ("facilitator",) if own is None else ("facilitators", own)
        chosen = entry.facilitator if own is None else entry.facilitators[own]
        served = [each for each in chains if own is None or each is network]
        found[network.name] = _Compiler(document, steps, served, note, problems).compile(chosen)
    return found


class _Compiler:
    """One facilitator."""

    def __init__(
        self, document: Document, steps: Path, served: Sequence[Network], note: Note, problems: Problems
    ) -> None:
        self._document = document
        self._steps = steps
        self._served = served
        self._note = note
        self._problems = problems

    def compile(self, entry: FacilitatorEntry) -> Facilitator:
        if entry.mode == "local":
            self._only(entry.url or entry.headers, "url", "means nothing with `mode: local`")
            return Facilitator("local", self._keys(entry))
        self._only(entry.key, "key", f"means nothing with `mode: {entry.mode}`: the facilitator settles")
        if not entry.url:
            self._error(("url",), f"is required: `mode: {entry.mode}` needs a facilitator to ask")
        for index, url in enumerate(entry.url):
            if not entry.allow_http and not _safe(url):
                self._error(self._at("url", index), "payments must not travel in the clear: use https")
        return Facilitator(
            entry.mode,
            urls=entry.url,
            headers=dict(entry.headers),
            timeout=entry.timeout,
            verify_on_chain_over=entry.verify_on_chain_over,
        )

    def _error(self, steps: Path, message: str) -> None:
        self._note((*self._steps, *steps), message)

    def _only(self, given: object, name: str, otherwise: str) -> None:
        if given:
            self._error((name,), otherwise)

    def _at(self, name: str, index: int) -> Path:
        """A list's item, or the one value that was written instead."""
        steps: Path = (name, index)
        there = (*X402_PATH, *self._steps, *steps) in self._document.places.values
        return steps if there else (name,)

    def _keys(self, entry: FacilitatorEntry) -> tuple[SecretStr, ...]:
        if not entry.key:
            self._error(("key",), "is required: a local facilitator pays gas with it")
        keys = [self._key(key.get_secret_value(), index) for index, key in enumerate(entry.key)]
        if len(set(keys)) != len(keys):
            self._error(("key",), "names one key twice")
        return tuple(SecretStr(key) for key in keys)

    def _key(self, text: str, index: int) -> str:
        steps = self._at("key", index)
        self._warn_readable(steps)
        try:
            key = private_key(text)
        except ValueError as error:
            self._error(steps, str(error))
            return text
        if key in PUBLISHED_KEYS and not all(network.testnet for network in self._served):
            self._error(steps, "is a published test key: whatever is sent with it on a real network is lost")
        return key

    def _warn_readable(self, steps: Path) -> None:
        where = (*X402_PATH, *self._steps, *steps)
        for file in self._document.sources.get(where, []):
            if file.stat().st_mode & _WORLD_READABLE:
                self._problems.warn(
                    self._document.places, where, "every user can read the key's file (chmod 600)"
                )


def _safe(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "https" or Address(parts.hostname or "", 0).loopback

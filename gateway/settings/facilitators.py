"""``rails.x402.facilitator`` and ``facilitators`` compiled: who verifies and settles on each network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import SecretStr

from facilitator.endpoint import check_url
from gateway.settings.document import Document
from gateway.settings.keys import compile_keys, place
from gateway.settings.model import FacilitatorEntry, X402Entry
from gateway.settings.problems import Path, Problems
from gateway.settings.receivers import Note
from gateway.settings.tree import Facilitator, Network

X402_PATH: Path = ("rails", "x402")


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
            try:
                check_url(url, entry.allow_http)
            except ValueError as error:
                where = place(self._document, (*X402_PATH, *self._steps, "url"), index)
                self._problems.error(self._document.places, where, str(error))
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

    def _keys(self, entry: FacilitatorEntry) -> tuple[SecretStr, ...]:
        if not entry.key:
            self._error(("key",), "is required: a local facilitator pays gas with it")
        at = (*X402_PATH, *self._steps, "key")
        return compile_keys(entry.key, at, self._served, self._document, self._problems)

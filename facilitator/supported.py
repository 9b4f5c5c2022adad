"""What a facilitator says it can do: the ``kinds`` of GET /supported.

Source: x402 specification v1 and v2, SupportedResponse; ``eip155:*`` is every network of a namespace.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from facilitator.strict import Fields, MalformedPayment

_MOST_KINDS = 2048
_MOST_EXTRA = 2048
"""Bytes of one kind's ``extra``: it goes into every challenge."""

_OURS = frozenset({"name", "version", "assetTransferMethod", "paymentFlow"})
"""Of an EVM kind's ``extra``: how our clients are to pay there is not for a facilitator to say."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of payment."""

    version: int
    scheme: str
    network: str
    extra: Mapping[str, Any]

    def covers(self, network: str, scheme: str) -> bool:
        """Whether payments of a scheme on a CAIP-2 network are of this kind."""
        anywhere = network.partition(":")[0] + ":*"
        return self.scheme == scheme and self.network in (network, anywhere)


def read_kinds(document: Mapping[str, Any]) -> tuple[Kind, ...]:
    """The kinds of a SupportedResponse; MalformedPayment when it is none, or names no kind at all.

    Entries that cannot be read are passed over: they are of some version yet to come.
    """
    entries = Fields(document).objects("kinds")[:_MOST_KINDS]
    kinds = tuple(kind for kind in map(_kind, entries) if kind is not None)
    if not kinds:
        raise MalformedPayment("kinds: none")
    return kinds


def find_kind(kinds: Sequence[Kind], network: str, scheme: str) -> Kind | None:
    """The newest kind for payments of a scheme on a network; one that names it before one that means all."""
    found = [kind for kind in kinds if kind.covers(network, scheme)]
    return max(found, key=lambda kind: (kind.version, kind.network == network), default=None)


def _kind(entry: dict[str, Any]) -> Kind | None:
    fields = Fields(entry)
    try:
        network = fields.text("network")
        extra = {} if fields.get("extra") is None else fields.mapping("extra")
        version = 1 if fields.get("x402Version") is None else fields.integer("x402Version")
        kind = Kind(version, fields.text("scheme"), network, _fit(extra, network))
    except MalformedPayment:
        return None
    return kind


def _fit(extra: dict[str, Any], network: str) -> dict[str, Any]:
    if network.startswith("eip155:"):
        extra = {key: value for key, value in extra.items() if key not in _OURS}
    return extra if len(orjson.dumps(extra)) <= _MOST_EXTRA else {}

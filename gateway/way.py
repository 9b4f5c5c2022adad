"""The way to one upstream: what every request to it has in common, prepared once."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from facilitator.http1.origin import Origin
from facilitator.http1.pool import Pool
from facilitator.http1.request import lines
from gateway import headers
from gateway.accept import Incoming
from gateway.headers import Field
from gateway.settings import Upstream

_OURS = frozenset({b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"})
"""Said here of every request, whatever a trusted peer said."""


class Way:
    """How requests get to an upstream."""

    def __init__(self, upstream: Upstream, pseudonym: str, pool: Pool) -> None:
        origin = Origin.of(upstream.url)
        self.peer = pool.to(origin)
        self.connect = upstream.connect_timeout
        """Seconds."""
        self._preserve = upstream.host == "preserve"
        self._base = urlsplit(upstream.url).path.rstrip("/")
        self._host = lines([(b"Host", origin.authority.encode())])
        secrets = [(name.encode(), value.encode()) for name, value in upstream.headers.items()]
        self._secret = frozenset(name.lower() for name, _ in secrets)
        self._constant = lines([(b"Via", b"1.1 " + pseudonym.encode()), *secrets])

    def target(self, incoming: Incoming) -> str:
        """The request target: the base path, then what was asked for."""
        path = self._base + incoming.target.path
        return path if incoming.query is None else f"{path}?{incoming.query}"

    def block(self, incoming: Incoming, extra: Sequence[Field]) -> bytes:
        """The header without framing; Unsendable as ``lines``.

        ``extra`` fields replace the client's, and what is configured for the upstream replaces any.
        """
        fields = [*self._kept(incoming, extra), *_about(incoming), *extra]
        if self._secret:
            fields = [field for field in fields if field[0].lower() not in self._secret]
        if self._preserve and incoming.host:
            return lines([(b"Host", incoming.host.encode()), *fields]) + self._constant
        return self._host + lines(fields) + self._constant

    def _kept(self, incoming: Incoming, extra: Sequence[Field]) -> list[Field]:
        trusted = incoming.forwarded.trusted
        kept = headers.for_upstream(incoming.fields, trusted=trusted)
        if not extra and not trusted:
            return kept
        replaced = _OURS.union([name.lower() for name, _ in extra])
        return [field for field in kept if field[0].lower() not in replaced]


def _about(incoming: Incoming) -> list[Field]:
    """Where the request came from, and its name."""
    forwarded = incoming.forwarded
    fields = [
        (b"X-Forwarded-For", forwarded.chain.encode()),
        (b"X-Forwarded-Proto", forwarded.scheme.encode()),
        (b"X-Request-Id", incoming.id.encode()),
    ]
    if forwarded.host:
        fields.append((b"X-Forwarded-Host", forwarded.host.encode()))
    return fields

"""The way to one upstream: what every request to it has in common, prepared once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from urllib.parse import urlsplit

from facilitator.http1.origin import Origin
from facilitator.http1.pool import Pool
from facilitator.http1.request import lines
from gateway import headers
from gateway.accept import Forwarded, Incoming
from gateway.headers import Field
from gateway.settings import Upstream

_OURS = frozenset({b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"})
"""Said here of every request, whatever a trusted peer said."""
_MEMORABLE = 512
"""Characters of what is remembered of where clients come from."""


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
        fields = [*self._kept(incoming, extra), *extra]
        if self._secret:
            fields += _about(incoming.forwarded, incoming.id)
            fields = [field for field in fields if field[0].lower() not in self._secret]
            return self._host_line(incoming) + lines(fields) + self._constant
        about = _about_block(incoming.forwarded) + b"X-Request-Id: %b\r\n" % incoming.id.encode()
        return self._host_line(incoming) + lines(fields) + about + self._constant

    def _host_line(self, incoming: Incoming) -> bytes:
        if self._preserve and incoming.host:
            return lines([(b"Host", incoming.host.encode())])
        return self._host

    def _kept(self, incoming: Incoming, extra: Sequence[Field]) -> list[Field]:
        trusted = incoming.forwarded.trusted
        kept = headers.for_upstream(incoming.fields, trusted=trusted)
        if not extra and not trusted:
            return kept
        replaced = _OURS.union([name.lower() for name, _ in extra])
        return [field for field in kept if field[0].lower() not in replaced]


def _about(forwarded: Forwarded, request_id: str) -> list[Field]:
    """Where a request came from, and its name."""
    fields = [
        (b"X-Forwarded-For", forwarded.chain.encode()),
        (b"X-Forwarded-Proto", forwarded.scheme.encode()),
        (b"X-Request-Id", request_id.encode()),
    ]
    if forwarded.host:
        fields.append((b"X-Forwarded-Host", forwarded.host.encode()))
    return fields


@lru_cache(maxsize=1024)
def _known_block(forwarded: Forwarded) -> bytes:
    return lines([field for field in _about(forwarded, "") if field[0] != b"X-Request-Id"])


def _about_block(forwarded: Forwarded) -> bytes:
    """The lines of where it came from: a client says the same every time."""
    short = len(forwarded.chain) + len(forwarded.host) <= _MEMORABLE
    return _known_block(forwarded) if short else _known_block.__wrapped__(forwarded)

"""The ``upstreams`` section compiled."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from gateway.settings.document import Document
from gateway.settings.model import Server, UpstreamEntry
from gateway.settings.problems import Path, Problems
from gateway.settings.scalars import Address
from gateway.settings.shape import shape
from gateway.settings.tree import Upstream

_TOKEN = re.compile(r"[!#$%&'*+\-.^`|~0-9A-Za-z]+\Z")
_OURS = frozenset(
    {
        *("host", "connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding"),
        *("upgrade", "content-length", "expect", "via"),
    }
)
"""Fields of the message's framing or of its way: never set by hand (RFC 9110 section 7.6.1)."""


def compile_upstreams(
    document: Document, server: Server | None, problems: Problems
) -> tuple[dict[str, Upstream], frozenset[str]]:
    """The valid upstreams by name, and every name the section uses; problems are noted."""
    section = document.at(("upstreams",))
    if section is None and document.at(("facilitator",)) is not None:
        return {}, frozenset()
    if not isinstance(section, dict) or not section:
        what = "is required: name at least one upstream" if not section else "must be a mapping of names"
        problems.error(document.places, ("upstreams",), what)
        return {}, frozenset()
    found: dict[str, Upstream] = {}
    for name in section:
        path: Path = ("upstreams", name)
        entry = shape(UpstreamEntry, document, path, problems)
        if entry is not None:
            _check_headers(entry, document, path, problems)
            _check_loop(entry, server, document, path, problems)
            found[name] = Upstream(
                name, entry.url, entry.timeout, entry.connect_timeout, entry.host, dict(entry.headers)
            )
    return found, frozenset(section)


def _check_headers(entry: UpstreamEntry, document: Document, path: Path, problems: Problems) -> None:
    seen: set[str] = set()
    for name in entry.headers:
        where = (*path, "headers", name)
        if not _TOKEN.match(name):
            problems.error(document.places, where, "is not a header field name", key=True)
        elif name.lower() in _OURS:
            problems.error(document.places, where, "is set by the gateway itself", key=True)
        elif name.lower() in seen:
            problems.error(document.places, where, "is there twice", key=True)
        seen.add(name.lower())


def _check_loop(
    entry: UpstreamEntry, server: Server | None, document: Document, path: Path, problems: Problems
) -> None:
    if server is None:
        return
    parts = urlsplit(entry.url)
    upstream = Address(parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
    for own in (server.listen, server.admin):
        if own is not None and own.port == upstream.port and _same_machine(own, upstream):
            problems.error(document.places, (*path, "url"), "is the gateway itself")


def _same_machine(own: Address, upstream: Address) -> bool:
    everywhere = own.host in ("0.0.0.0", "::")
    return own.host == upstream.host or (upstream.loopback and (own.loopback or everywhere))

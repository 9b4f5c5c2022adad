"""The canonical request target: one form that is matched, bound and forwarded, or none at all.

The rules are RELIABILITY section 3. What other software reads as something else (dot
segments, encoded separators, backslashes) has no canonical form: refusing is the only
answer that stays right whatever the upstream makes of it.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote_to_bytes

OPT_IN = {"2F": "slash", "25": "percent", "3B": "semicolon"}
"""Escapes a route may opt into (``allow_encoded``), by their hex."""

REMEMBERED, MEMORABLE = 1024, 512
"""Paths that are remembered, and the longest such: what strangers send must not fill memory."""

_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_~")
_PATH = re.compile(r"""/[!$%&'()*+,\-./0-9:;=@A-Z\[\]_a-z~]*\Z""")
_QUERY = re.compile(r"[!-\"$-~]*\Z")
_ESCAPE = re.compile(r"%(.{0,2})", re.DOTALL)
_HEX = re.compile(r"[0-9A-F]{2}\Z")
_NEVER = re.compile(r"[01][0-9A-F]|7F|5C|2E|3F|23")
_DOTS = frozenset({".", ".."})
_MAX_NESTING = 3
"""How often an escape may be escaped again (``%2525...``) on routes that take ``%25``."""

_ABSOLUTE = re.compile(r"(https?)://([^/?#]*)([^#]*)\Z", re.IGNORECASE)
_DEFAULT_PORTS = {"http": "80", "https": "443"}
_AUTHORITY = re.compile(
    r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>(?:[A-Za-z0-9\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})+))(?::(?P<port>[0-9]{0,5}))?\Z"
)


class BadTarget(Exception):
    """The request target has no canonical form; the message says why."""


@dataclass(frozen=True, slots=True)
class Target:
    """A canonical request target."""

    path: str
    """What is matched, bound and forwarded."""
    query: str | None
    """Byte for byte as sent; None without a ``?``."""
    segments: tuple[str, ...]
    """The path without its leading slash, split at slashes."""
    encoded: frozenset[str] = frozenset()
    """The opt-in classes the path uses: ``slash``, ``percent``, ``semicolon``."""


def canonical(raw: str) -> Target:
    """The canonical form of an origin-form target (RFC 9112 section 3.2.1); BadTarget if it has none."""
    path, mark, query = raw.partition("?")
    target = _remembered(path) if len(path) <= MEMORABLE else _canonical(path)
    if not mark:
        return target
    if not _QUERY.match(query):
        raise BadTarget("the query must be printable ASCII without #")
    return Target(target.path, query, target.segments, target.encoded)


def _canonical(path: str) -> Target:
    if not _PATH.match(path):
        raise BadTarget("the path must start with / and hold only printable ASCII that RFC 3986 allows")
    encoded: set[str] = {"semicolon"} if ";" in path else set()
    if "%" in path:
        _refuse_broken_utf8(path)
        path = _ESCAPE.sub(lambda escape: _normal(escape[1].upper(), encoded), path)
    if encoded:
        _refuse_hidden_dots(path)
    return Target(path, None, _segments(path), frozenset(encoded))


_remembered = lru_cache(maxsize=REMEMBERED)(_canonical)


def _segments(path: str) -> tuple[str, ...]:
    segments = tuple(path[1:].split("/"))
    if "" in segments[:-1]:
        raise BadTarget("the path has an empty segment")
    if not _DOTS.isdisjoint(segments):
        raise BadTarget("the path has a dot segment")
    return segments


def _normal(digits: str, encoded: set[str]) -> str:
    """One escape in its only form: decoded where it is unreserved, upper-case where it is not."""
    if not _HEX.match(digits):
        raise BadTarget("the path has a malformed percent escape")
    if _NEVER.match(digits):
        raise BadTarget(f"%{digits} is not accepted in a path")
    character = chr(int(digits, 16))
    if character in _UNRESERVED:
        return character
    if digits in OPT_IN:
        encoded.add(OPT_IN[digits])
    return f"%{digits}"


def _refuse_broken_utf8(path: str) -> None:
    try:
        unquote_to_bytes(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadTarget("the path's percent escapes are not UTF-8") from error


def _refuse_hidden_dots(path: str) -> None:
    """Dot segments must not come out of any number of decodings, nor from behind a path parameter."""
    for _ in range(_MAX_NESTING):
        plain = path.replace("\\", "/")
        if any(segment.partition(";")[0] in _DOTS for segment in plain.split("/")):
            raise BadTarget("the path has an encoded dot segment")
        decoded = unquote_to_bytes(path).decode("utf-8", "replace")
        if decoded == path:
            return
        path = decoded
    raise BadTarget("the path is percent-encoded too many times over")


def origin_form(raw: str, host: str) -> str:
    """The origin form of an absolute-form target whose authority is the Host; BadTarget otherwise.

    RFC 9112 section 3.2.2. Names compare without case, ports with the scheme's default filled in.
    """
    match = _ABSOLUTE.match(raw)
    if not match:
        raise BadTarget("the target is neither a path nor an http(s) URL")
    port = _DEFAULT_PORTS[match[1].lower()]
    named, asked = split_authority(match[2]), split_authority(host)
    if named is None or asked is None:
        raise BadTarget("the target's authority is not valid")
    if (named[0], named[1] or port) != (asked[0], asked[1] or port):
        raise BadTarget("the target's authority is not the Host")
    rest = match[3]
    return rest if rest.startswith("/") else f"/{rest}"


def split_authority(authority: str) -> tuple[str, str] | None:
    """Lower-case host and port (``""`` when absent) of an RFC 3986 authority without userinfo, or None."""
    match = _AUTHORITY.match(authority)
    if not match:
        return None
    port = match["port"] or ""
    if port and not 0 < int(port) < 65536:
        return None
    port = port and str(int(port))
    if match["v6"] is not None:
        return (f"[{match['v6'].lower()}]", port) if _is_ipv6(match["v6"]) else None
    return match["name"].lower(), port


def valid_authority(host: str) -> bool:
    """Whether ``host`` is one RFC 3986 authority: a name or an address, perhaps a port, no userinfo."""
    return split_authority(host) is not None


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True

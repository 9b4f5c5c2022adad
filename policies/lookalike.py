"""The loose reading of a path, used only to find look-alikes of paid routes.

Servers behind a gateway read paths more loosely than it does: without case, with Unicode
folded, past a trailing dot, space, ``;parameter``, ``:stream`` or ``.format``. A path that only
such a reading takes to a paid route is answered 404 and never forwarded (RELIABILITY section 3).
"""

from __future__ import annotations

import unicodedata
from urllib.parse import unquote

SUFFIXES = frozenset(".;:~+,!'*&=@$|\" %?#")
"""Characters that end a name for some server: what follows them may be dropped."""

_SLASHES = dict.fromkeys("\\\u2044\u2215\u2216\u2571\u2572\u27cb\u27cd\u29f5\u29f8\u29f9\u3033\uff3c", "/")
_STOPS = dict.fromkeys("\u3002\uff61\u06d4\u0701\u0702", ".")
_SAME = str.maketrans(_SLASHES | _STOPS)
_MAX_DECODINGS = 4


def loose(path: str) -> tuple[str, ...]:
    """The segments of the loosest reading: decoded, folded, empty and dot segments resolved."""
    return _resolved(_folded(path).split("/"))


def literal(segment: str) -> str:
    """A pattern's literal segment in the form loose segments are compared with."""
    return _folded(segment).strip()


def _folded(path: str) -> str:
    for _ in range(_MAX_DECODINGS):
        if "%" not in path:
            break
        path = unquote(path)
    if path.isascii() and path.isprintable():
        return path.replace("\\", "/").lower()
    return _folded_unicode(path)


def _folded_unicode(path: str) -> str:
    """Compatibility forms to plain ones, case gone, marks and invisible characters dropped."""
    plain = unicodedata.normalize("NFKD", path.translate(_SAME)).casefold()
    kept = (_visible(character) for character in unicodedata.normalize("NFKD", plain))
    return "".join(kept).translate(_SAME)


def _visible(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Zs":
        return " "
    return "" if category in ("Mn", "Me", "Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp") else character


def _resolved(segments: list[str]) -> tuple[str, ...]:
    """RFC 3986 section 5.2.4 on what is left of each segment once its parameters are gone."""
    kept: list[str] = []
    for segment in map(str.strip, segments):
        name = segment.partition(";")[0].strip()
        if name == "..":
            del kept[-1:]
        elif name not in ("", "."):
            kept.append(segment)
    return tuple(kept)

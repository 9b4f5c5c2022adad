"""What rules may read of a request, and only where it has one meaning (INTERFACE section 2).

A value two parsers could read differently is :data:`AMBIGUOUS`, one that is not there is
:data:`MISSING`; what follows from that is the rule's business.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from functools import cached_property
from typing import Any, Protocol
from urllib.parse import unquote_to_bytes

from policies.target import Target

MAX_DEPTH = 64
"""Deepest JSON nesting that rules read."""
MAX_BRACKETS = 400_000
"""Brackets and braces in a body that rules read: bounds the work on bodies made to be expensive."""

_JSON_TYPE = re.compile(
    r"""application/(?:json|[\w.+-]+\+json)[ \t]*(?:;[ \t]*charset="?utf-8"?[ \t]*)?\Z""", re.I | re.A
)
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_UNUSUAL = re.compile(r"[\x00-\x1f\x7f\ufffd\ud800-\udfff]")
_UNUSUAL_TEXT = re.compile(r"[\x00\ud800-\udfff]")

_STRINGS = re.compile(rb"""(?:"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"[^"\[\]{}]*+|\\?\Z))++""", re.DOTALL)
"""Runs of strings with what stands between them but brackets; one that is not closed runs to the end."""
_AS_SQUARE = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")


class Unclear(Enum):
    """Why a value cannot be read."""

    MISSING = "missing"
    AMBIGUOUS = "ambiguous"


MISSING = Unclear.MISSING
AMBIGUOUS = Unclear.AMBIGUOUS


class Headers(Protocol):
    """A request's header fields."""

    def getall(self, name: str, default: list[str], /) -> list[str]:
        """Every value of one field, in order, or ``default``; names compare without case."""


@dataclass(frozen=True)
class RequestFacts:
    """One request as rules see it. ``body`` None means: not read yet."""

    method: str
    host: str
    target: Target
    headers: Headers
    body: bytes | None = None

    @cached_property
    def document(self) -> object:
        """The JSON body, or AMBIGUOUS where it has no single meaning."""
        return _document(self)

    def query(self, name: str) -> str | Unclear:
        """The one value of a query parameter."""
        return _parameter(self.target.query or "", name)

    def header(self, name: str) -> str | Unclear:
        """The one value of a header field."""
        return _only(self.headers.getall(name, []))

    def json(self, path: Sequence[str]) -> str | Unclear:
        """The text of the scalar at a path of object keys in the JSON body."""
        if self.body is None:
            raise ValueError("the request body has not been read")
        if not self.body:
            return MISSING
        return AMBIGUOUS if self.document is AMBIGUOUS else _scalar(_descend(self.document, path))


def _only(values: Sequence[str]) -> str | Unclear:
    if not values:
        return MISSING
    return values[0] if len(values) == 1 and not _UNUSUAL.search(values[0]) else AMBIGUOUS


def _parameter(query: str, name: str) -> str | Unclear:
    """Read ``name`` as servers do that split at ``&``; AMBIGUOUS where splitting at ``;`` too differs."""
    value = _split_parameter(query.split("&"), name)
    if ";" in query and value != _split_parameter(re.split("[&;]", query), name):
        return AMBIGUOUS
    return value


def _split_parameter(parts: list[str], name: str) -> str | Unclear:
    exact: list[str] = []
    variants = 0
    wanted = _variant(name)
    for part in parts:
        raw_key, _, raw_value = part.partition("=")
        key = _decoded(raw_key)
        if key is None:
            return AMBIGUOUS
        if key == name:
            exact.append(raw_value)
        elif _variant(key) == wanted:
            variants += 1
    if variants or len(exact) > 1:
        return AMBIGUOUS
    if not exact:
        return MISSING
    value = _decoded(exact[0])
    return AMBIGUOUS if value is None else value


def _decoded(text: str) -> str | None:
    """Form-decoded text (WHATWG URL section 5.1), None where decoders differ."""
    if _BROKEN_ESCAPE.search(text):
        return None
    decoded = unquote_to_bytes(text.replace("+", " ")).decode("utf-8", "replace")
    return None if _UNUSUAL.search(decoded) else decoded


def _variant(name: str) -> str:
    """What lenient servers make of a name: no case, no spaces around, ``[...]`` cut, dots as underscores."""
    folded = unicodedata.normalize("NFKC", name).casefold().strip()
    return folded.partition("[")[0].replace(".", "_").replace(" ", "_")


class _Doubled(ValueError):
    """An object names a key twice."""


class _Inexact(str):
    """A number whose text is not its only form: 1.0, 1e3, NaN."""


def _document(facts: RequestFacts) -> object:
    kinds = facts.headers.getall("Content-Type", [])
    if len(kinds) != 1 or not _JSON_TYPE.match(kinds[0].strip()):
        return AMBIGUOUS
    if facts.headers.getall("Content-Encoding", []) or facts.body is None or not _shallow(facts.body):
        return AMBIGUOUS
    try:
        text = facts.body.decode("utf-8")
        document: object = json.loads(
            text, object_pairs_hook=_pairs, parse_float=_Inexact, parse_constant=_Inexact
        )
    except ValueError:
        return AMBIGUOUS
    return document


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Doubled
    return found


def _shallow(body: bytes) -> bool:
    """Whether JSON text nests at most ``MAX_DEPTH`` deep; False also where its brackets do not pair.

    Asked before parsing: the standard library's parser recurses, and the recursion limit that
    should stop it is the process's, which libraries raise until the stack overflows instead.
    """
    if sum(map(body.count, (b"[", b"]", b"{", b"}"))) > MAX_BRACKETS:
        return False
    brackets = _STRINGS.sub(b"", body).translate(_AS_SQUARE, _NO_BRACKETS)
    for _ in range(MAX_DEPTH):
        if not brackets:
            return True
        size = len(brackets)
        brackets = brackets.replace(b"[]", b"")
        if len(brackets) == size:
            return False
    return not brackets


def _descend(value: object, path: Sequence[str]) -> object:
    for name in path:
        if not isinstance(value, dict):
            return MISSING if value is None else AMBIGUOUS
        wanted = _key(name)
        if any(key != name and _key(key) == wanted for key in value):
            return AMBIGUOUS
        if name not in value:
            return MISSING
        value = value[name]
    return value


def _key(name: str) -> str:
    """JSON decoders that match keys without case (Go, .NET) must not find another one."""
    plain = name if name.isascii() else unicodedata.normalize("NFKC", name)
    return plain.casefold().strip()


def _scalar(value: object) -> str | Unclear:
    if value is None:
        return MISSING
    if isinstance(value, Unclear):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, _Inexact):
        return _exact_number(value)
    if isinstance(value, int):
        return str(value)
    return value if isinstance(value, str) and not _UNUSUAL_TEXT.search(value) else AMBIGUOUS


def _exact_number(text: str) -> str | Unclear:
    """Plain decimals have one meaning; exponents and constants are read differently by different parsers."""
    if not re.fullmatch(r"-?[0-9]{1,40}\.[0-9]{1,40}", text):
        return AMBIGUOUS
    number = f"{Decimal(text).normalize():f}"
    return "0" if number == "-0" else number

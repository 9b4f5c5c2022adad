"""Strict reading of base64 JSON headers: one meaning, or :class:`MalformedPayment`.

Verifier and settler must never read two different things out of the same bytes, so
what lenient parsers accept in different ways is refused: junk in base64, duplicate
keys, NaN, unpaired surrogates, endless nesting.
"""

from __future__ import annotations

import binascii
import json
import math
import re
from collections.abc import Mapping
from typing import Any, NoReturn

import orjson

MAX_DEPTH = 32
"""Nested objects and arrays; the deepest real credential (an echoed bazaar schema) has about a dozen."""

UINT256 = 2**256

_INT64 = 2**63

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_DECIMAL = re.compile(r"0|[1-9][0-9]{0,77}").fullmatch
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}").fullmatch


class MalformedPayment(Exception):
    """The sender's fault: ``detail`` says where and what, and never repeats the value."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


def header_object(header: str) -> dict[str, Any]:
    """The JSON object in a header: standard padded base64 (RFC 4648 section 4) of UTF-8 JSON (RFC 8259).

    MalformedPayment for anything else, duplicate keys at any level included.
    """
    return json_object(header_bytes(header))


def json_object(data: bytes) -> dict[str, Any]:
    """One JSON object with unique keys, finite numbers and at most ``MAX_DEPTH`` levels."""
    document = _written_so(data)
    return _read(data) if document is None else document


def _written_so(data: bytes) -> dict[str, Any] | None:
    """The object that is written as just these bytes, as most clients write theirs: there is nothing else
    they could mean. None where a slower look has to tell."""
    if data.count(b"{") + data.count(b"[") > MAX_DEPTH:
        return None
    try:
        document = orjson.loads(data)
        written = orjson.dumps(document, option=orjson.OPT_STRICT_INTEGER)
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return None
    return document if written == data and isinstance(document, dict) else None


def _read(data: bytes) -> dict[str, Any]:
    text = _utf8(data)
    if _depth(text) > MAX_DEPTH:
        raise MalformedPayment("nested too deep")
    try:
        document = _DECODER.decode(text)
    except ValueError as error:
        raise MalformedPayment("not JSON") from error
    if not isinstance(document, dict):
        raise MalformedPayment("not a JSON object")
    if _SURROGATE.search(text):
        _refuse_lone_surrogates(document)
    return document


def header_bytes(header: str) -> bytes:
    """What a header's standard padded base64 stands for; MalformedPayment for anything else."""
    if not header or len(header) % 4 or header.endswith("==="):
        raise MalformedPayment("not standard padded base64")
    try:
        return binascii.a2b_base64(header, strict_mode=True)
    except ValueError as error:
        raise MalformedPayment("not standard padded base64") from error


def _utf8(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise MalformedPayment("not UTF-8") from error


def _depth(text: str) -> int:
    """The deepest nesting; counting all brackets is an upper bound that is nearly always enough."""
    bound = text.count("{") + text.count("[")
    if bound <= MAX_DEPTH:
        return bound
    level = deepest = 0
    for character in _STRING.sub("", text):
        if character in "{[":
            level += 1
            deepest = max(deepest, level)
        elif character in "}]":
            level -= 1
    return deepest


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise MalformedPayment("duplicate key")
    return found


def _no_constant(name: str) -> NoReturn:
    raise MalformedPayment(f"{name} is not JSON")


def _int64(digits: str) -> int:
    """Larger integers mean different things to different parsers; amounts are strings in x402."""
    number = int(digits) if len(digits) < 20 else _INT64
    if abs(number) >= _INT64:
        raise MalformedPayment("number out of range")
    return number


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise MalformedPayment("number out of range")
    return number


_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite, parse_int=_int64
)


def _refuse_lone_surrogates(document: dict[str, Any]) -> None:
    try:
        json.dumps(document, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise MalformedPayment("unpaired surrogate") from error


class Fields:
    """Typed access to one object of a decoded document; every error names the full path."""

    __slots__ = ("_found", "_path")

    def __init__(self, found: Mapping[str, Any], path: str = "") -> None:
        self._found = found
        self._path = path

    def get(self, key: str) -> Any:
        """The value as it is, or None."""
        return self._found.get(key)

    def child(self, key: str) -> Fields:
        """An object inside this one."""
        return Fields(self.mapping(key), f"{self._path}{key}.")

    def mapping(self, key: str) -> dict[str, Any]:
        """An object inside this one, as it is."""
        found = self._found.get(key)
        if not isinstance(found, dict):
            raise self.wrong(key, "not an object")
        return found

    def objects(self, key: str) -> list[dict[str, Any]]:
        """A list of objects."""
        found = self._found.get(key)
        if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
            raise self.wrong(key, "not a list of objects")
        return found

    def text(self, key: str) -> str:
        """A string."""
        found = self._found.get(key)
        if not isinstance(found, str):
            raise self.wrong(key, "not a string")
        return found

    def integer(self, key: str) -> int:
        """A JSON integer; neither a float nor a boolean."""
        found = self._found.get(key)
        if type(found) is not int:
            raise self.wrong(key, "not an integer")
        return found

    def uint(self, key: str) -> int:
        """A canonical decimal string within uint256: no sign, space, underscore or leading zero."""
        found = self._found.get(key)
        if not isinstance(found, str) or not _DECIMAL(found):
            raise self.wrong(key, "not a decimal string")
        number = int(found)
        if number >= UINT256:
            raise self.wrong(key, "above uint256")
        return number

    def address(self, key: str) -> str:
        """An EVM address in any case, lower-cased; like the official SDKs, checksums are not judged."""
        found = self._found.get(key)
        if not isinstance(found, str) or not _ADDRESS(found):
            raise self.wrong(key, "not an address")
        return found.lower()

    def octets(self, key: str, least: int, most: int) -> bytes:
        """0x-hex of ``least`` to ``most`` bytes."""
        found = self._found.get(key)
        octets = _octets(found) if isinstance(found, str) else b""
        if not octets:
            raise self.wrong(key, "not 0x hex")
        if not least <= len(octets) <= most:
            raise self.wrong(key, "wrong length")
        return octets

    def wrong(self, key: str, what: str) -> MalformedPayment:
        """The error to raise about one field."""
        return MalformedPayment(f"{self._path}{key}: {what}")


def _octets(text: str) -> bytes:
    """What 0x-hex stands for; nothing for what is none."""
    if not text.startswith("0x"):
        return b""
    try:
        return binascii.a2b_hex(text[2:])
    except ValueError:
        return b""

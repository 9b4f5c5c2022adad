"""What is read at a glance is read as the slower look reads it, and refused where that refuses."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facilitator.strict import MAX_DEPTH, MalformedPayment, header_bytes, json_object

_SHAPE = re.compile(r"[A-Za-z0-9+/]*={0,2}")
_KEYS = st.sampled_from(["a", "b", "é", "\U0001f600", '"', "\\", "\x00", ""])
_NUMBERS = st.integers(-(2**64), 2**64) | st.floats(allow_nan=False, allow_infinity=False)
_DOCUMENTS = st.recursive(
    st.none() | st.booleans() | _NUMBERS | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=3),
    max_leaves=8,
)


def outcome(data: bytes) -> tuple[str, str]:
    """What is read, types and order and all, or why nothing is."""
    try:
        return "read", repr(json_object(data))
    except MalformedPayment as error:
        return "refused", error.detail


@given(_DOCUMENTS, st.booleans(), st.booleans())
def test_any_document_however_it_is_written(document: Any, ascii_only: bool, spaced: bool) -> None:
    separators = (", ", ": ") if spaced else (",", ":")
    data = json.dumps(document, ensure_ascii=ascii_only, separators=separators).encode(
        "utf-8", "surrogatepass"
    )
    assert outcome(data) == outcome(b" " + data), "a space in front always takes the slower look"


@pytest.mark.parametrize(
    "text",
    [
        '{"a":1,"a":1}',
        '{"a":{"b":1,"b":1}}',
        '{"a":1,"\\u0061":1}',
        '{"a":9007199254740993}',
        '{"a":9223372036854775807}',
        '{"a":9223372036854775808}',
        '{"a":18446744073709551615}',
        '{"a":1e400}',
        '{"a":1e16}',
        '{"a":-0}',
        '{"a":-0.0}',
        '{"a":1.0}',
        '{"a":0.1}',
        '{"a":NaN}',
        '{"a":Infinity}',
        '{"a":"\\ud800"}',
        '{"a":"\\ud83d\\ude00"}',
        '{"a":"\x7f\u2028"}',
        "[]",
        "null",
        "{}",
        "{} ",
        "",
        "\ufeff{}",
        '{"a":' * MAX_DEPTH + "1" + "}" * MAX_DEPTH,
        '{"a":' * (MAX_DEPTH + 1) + "1" + "}" * (MAX_DEPTH + 1),
        '{"a":"' + "{" * 40 + '"}',
    ],
)
def test_the_two_looks_agree(text: str) -> None:
    assert outcome(text.encode()) == outcome(b" " + text.encode())


@given(st.data(), _DOCUMENTS)
def test_a_document_with_one_byte_changed(data: st.DataObject, document: Any) -> None:
    written = bytearray(
        orjson.dumps({"a": [1.5, "b"], "c": json.loads(json.dumps(document), parse_int=float)})
    )
    written[data.draw(st.integers(0, len(written) - 1))] = data.draw(st.integers(0, 255))
    assert outcome(bytes(written)) == outcome(b" " + bytes(written))


@given(st.text(st.sampled_from("Ab9+/=-_ \n\xe9\u0141"), max_size=12))
def test_base64_is_standard_and_padded(header: str) -> None:
    standard = bool(header) and len(header) % 4 == 0 and _SHAPE.fullmatch(header) is not None
    try:
        assert header_bytes(header) == base64.b64decode(header) and standard
    except MalformedPayment:
        assert not standard


@pytest.mark.parametrize("header", ["A===", "====", "AAAA====", "AAA=AAA=", "AA=A", "=AAA", "AAAA=AAA"])
def test_padding_that_is_out_of_place(header: str) -> None:
    with pytest.raises(MalformedPayment):
        header_bytes(header)

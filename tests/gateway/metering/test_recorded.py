"""Answers as the vendors send them (tests/corpus/metering.jsonl), cut at every byte and compressed."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterable
from typing import Any

import brotli
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit import corpus

from gateway.metering import Meter, Metered, Usage, meter

ROWS = corpus.rows("metering")
each_answer = pytest.mark.parametrize("row", ROWS, ids=lambda row: row["id"])


def raw_deflate(data: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return stream.compress(data) + stream.flush()


def two_members(data: bytes) -> bytes:
    half = len(data) // 2
    return gzip.compress(data[:half], mtime=0) + gzip.compress(data[half:], mtime=0)


CODINGS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "plain": ("", bytes),
    "gzip": ("gzip", lambda data: gzip.compress(data, mtime=0)),
    "gzip in two members": ("GZIP", two_members),
    "deflate": ("deflate", zlib.compress),
    "raw deflate": ("deflate", raw_deflate),
    "br": ("br", lambda data: brotli.compress(data, quality=3)),
}


def metering(row: dict[str, Any], encoding: str = "") -> Meter:
    request = Metered(row["kind"], row["path"], json.dumps(row["request"]).encode())
    return meter(request, row["type"], encoding, swallow=False)


def expected(row: dict[str, Any]) -> Usage:
    return Usage(row["model"], row["input"], row["output"], row["estimated"])


def passed_on(metering: Meter, chunks: Iterable[bytes]) -> bytes:
    """Every chunk must come out as it went in."""
    passed = b""
    for chunk in chunks:
        out = metering.feed(chunk)
        assert out == chunk
        passed += out
    assert metering.end() == b""
    return passed


@pytest.mark.parametrize("coding", CODINGS)
@each_answer
def test_tokens_are_exact_wherever_the_answer_is_cut(row: dict[str, Any], coding: str) -> None:
    encoding, encode = CODINGS[coding]
    answer = encode(row["answer"].encode())
    for border in range(len(answer)):
        cut = metering(row, encoding)
        passed_on(cut, (answer[:border], answer[border:]))
        assert cut.usage() == expected(row), f"cut at byte {border}"


@pytest.mark.parametrize("coding", CODINGS)
@each_answer
def test_tokens_are_exact_byte_by_byte(row: dict[str, Any], coding: str) -> None:
    encoding, encode = CODINGS[coding]
    answer = encode(row["answer"].encode())
    slow = metering(row, encoding)
    assert passed_on(slow, (answer[at : at + 1] for at in range(len(answer)))) == answer
    assert slow.usage() == expected(row)


@pytest.mark.parametrize("line_end", ["\r\n", "\r"])
@pytest.mark.parametrize(
    "row", [row for row in ROWS if "event-stream" in row["type"]], ids=lambda row: row["id"]
)
def test_tokens_are_exact_with_any_line_ends(row: dict[str, Any], line_end: str) -> None:
    answer = row["answer"].replace("\r\n", "\n").replace("\n", line_end).encode()
    for border in range(0, len(answer), 5):
        cut = metering(row)
        passed_on(cut, (answer[:border], answer[border:]))
        assert cut.usage() == expected(row), f"cut at byte {border}"


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_tokens_are_exact_in_any_chunks(data: st.DataObject) -> None:
    row = data.draw(st.sampled_from(ROWS))
    encoding, encode = CODINGS[data.draw(st.sampled_from(sorted(CODINGS)))]
    answer = encode(row["answer"].encode())
    borders = sorted(data.draw(st.lists(st.integers(0, len(answer)), max_size=12)))
    cut = metering(row, encoding)
    chunks = (answer[start:end] for start, end in zip([0, *borders], [*borders, None], strict=True))
    assert passed_on(cut, chunks) == answer
    assert cut.usage() == expected(row)


@each_answer
def test_asking_early_says_what_came_so_far_and_changes_nothing(row: dict[str, Any]) -> None:
    answer = row["answer"].encode()
    asked = metering(row)
    for at in range(0, len(answer), 7):
        asked.feed(answer[at : at + 7])
        so_far = asked.usage().output_tokens
        assert 0 <= so_far <= max(row["output"], (at + 10) // 4)
    asked.end()
    assert asked.usage() == expected(row)


@each_answer
def test_a_configured_model_replaces_what_was_read(row: dict[str, Any]) -> None:
    request = Metered(row["kind"], row["path"], json.dumps(row["request"]).encode(), model="house-blend")
    named = meter(request, row["type"], "", swallow=False)
    passed_on(named, [row["answer"].encode()])
    assert named.usage().model == "house-blend"

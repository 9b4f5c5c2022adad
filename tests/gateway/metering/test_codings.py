"""Content codings: what is asked of an upstream, and bombs, rubbish and broken ends in what it sends."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib

import brotli
import pytest

from gateway.metering import ACCEPTABLE, narrowed
from gateway.metering.codings import INFLATED, Unreadable, decoder


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        (b"gzip, deflate, br, zstd", b"gzip, deflate, br"),
        (b"gzip", b"gzip"),
        (b"GZIP ;Q=0.5,zstd;q=1", b"gzip;q=0.5"),
        (b"br;q=1.0, gzip;q=0.8, *;q=0.1", b"br;q=1.0, gzip;q=0.8, deflate;q=0.1, identity;q=0.1"),
        (b"*", ACCEPTABLE),
        (b"*;q=0", b"identity"),
        (b"gzip, *;q=0", b"gzip, identity;q=0"),
        (b"zstd", b"identity"),
        (b"zstd, identity;q=0", b"identity"),
        (b"gzip;q=0, br", b"br"),
        (b"gzip;q=0", b"identity"),
        (b"gzip;q=lots, gzip;level=9", b"identity"),
        (b"gzip;q=nan", b"identity"),
        (b"identity;q=0, gzip", b"identity;q=0, gzip"),
        (b"", b"identity"),
    ],
)
def test_only_codings_that_can_be_read_are_asked_for(asked: bytes, sent: bytes) -> None:
    assert narrowed(asked) == sent


def inflated(encoding: str, *chunks: bytes) -> bytes:
    coding = decoder(encoding)
    assert coding is not None
    return b"".join(block for chunk in chunks for block in coding.feed(chunk))


@pytest.mark.parametrize("encoding", ["zstd", "compress", "gzip, br", "aws-chunked"])
def test_an_unknown_coding_has_no_decoder(encoding: str) -> None:
    assert decoder(encoding) is None


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "deflate", "br"])
def test_rubbish_is_unreadable(encoding: str) -> None:
    with pytest.raises(Unreadable):
        inflated(encoding, b"\xff\xfe" + b"this was never compressed" * 9)


def test_one_byte_says_nothing_about_deflate() -> None:
    data = zlib.compress(b"hello")
    assert inflated("deflate", data[:1], data[1:]) == b"hello"
    assert inflated("deflate", data[:1]) == b""


def test_what_follows_the_end_is_ignored() -> None:
    assert inflated("deflate", zlib.compress(b"hello") + b"more", b"and more") == b"hello"
    assert inflated("br", brotli.compress(b"hello"), b"more") == b"hello"


def test_output_is_complete_at_the_end_of_a_full_block() -> None:
    """zlib may have taken all input and still hold output back."""
    for size in (64 * 1024 - 1, 64 * 1024, 64 * 1024 + 1, 64 * 1024 + 200, 3 * 64 * 1024):
        assert len(inflated("gzip", gzip.compress(b"x" * size))) == size
        assert len(inflated("deflate", zlib.compress(b"x" * size, wbits=-zlib.MAX_WBITS))) == size
        assert len(inflated("br", brotli.compress(b"x" * size))) == size


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br"])
def test_a_bomb_is_given_up_in_little_memory(encoding: str) -> None:
    encode = {
        "gzip": gzip.compress,
        "deflate": zlib.compress,
        "br": lambda data: brotli.compress(data, quality=1),
    }
    bomb = encode[encoding](bytes(INFLATED + 1))
    coding = decoder(encoding)
    assert coding is not None
    tracemalloc.start()
    try:
        with pytest.raises(Unreadable, match="more than"):
            for _ in coding.feed(bomb):
                pass
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()

"""The code a wallet scans: the SDK's text, in pictures that readers can read."""

from __future__ import annotations

import io
import re

import pytest
import zxingcpp
from conxa.qr import generate_qr_data
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gateway.conxa import qr

SAID = st.text(min_size=1).filter(str.strip)
TEXT = qr.payload("acme", "api", "u_3Zs0pQx9K2mB7vT1", 50000)
"""As long as what the gateway says."""


def read(picture: Image.Image) -> str:
    [found] = zxingcpp.read_barcodes(picture)
    assert found.format == zxingcpp.BarcodeFormat.QRCode
    return found.text


@given(
    SAID,
    st.sampled_from(["api", "web", "API", " Web "]),
    SAID,
    st.none() | st.integers(0, 10**18) | st.floats(0, allow_infinity=False),
)
def test_the_text_is_the_sdks(
    provider_id: str, provider_type: str, username: str, limit: float | None
) -> None:
    ours = qr.payload(provider_id, provider_type, username, limit)
    assert ours == generate_qr_data(provider_id, provider_type, username, limit)


def test_the_text_of_the_contract() -> None:
    said = '{"provider_id":"acme","provider_type":"api","provider_username":"u@e.com","limit":50000.0}'
    assert qr.payload("acme", "api", "u@e.com", 50000) == said


@pytest.mark.parametrize("size", [120, 299, 300, 301, 640, 2000])
def test_a_picture_is_exactly_as_large_as_asked_for_and_can_be_read(size: int) -> None:
    picture = Image.open(io.BytesIO(qr.png(TEXT, size)))
    assert picture.size == (size, size) and picture.mode == "1"
    assert read(picture.convert("L")) == TEXT


@pytest.mark.parametrize("size", range(50, 60))
def test_too_small_to_read_is_still_a_picture(size: int) -> None:
    picture = Image.open(io.BytesIO(qr.png(TEXT, size)))
    picture.load()
    assert picture.size == (size, size)


@pytest.mark.parametrize("text", ["x", TEXT, qr.payload("acme", "web", "ü" * 100, None)])
def test_there_are_four_modules_of_quiet_around_it(text: str) -> None:
    """At four pixels a module, the code begins after sixteen."""
    [side] = re.findall(rb'viewBox="0 0 (\d+) ', qr.svg(text, 300))
    picture = Image.open(io.BytesIO(qr.png(text, 4 * int(side)))).convert("L")
    dark = picture.point(lambda value: 255 - value).getbbox()
    assert dark == (16, 16, 4 * int(side) - 16, 4 * int(side) - 16)


def test_error_correction_is_m() -> None:
    [found] = zxingcpp.read_barcodes(Image.open(io.BytesIO(qr.png(TEXT, 300))).convert("L"))
    assert found.ec_level == "M"


def test_the_drawing_shows_the_same_modules() -> None:
    drawing = qr.svg(TEXT, 300).decode()
    assert 'width="300" height="300"' in drawing
    side = int(re.findall(r'viewBox="0 0 (\d+) ', drawing)[0])
    picture = Image.open(io.BytesIO(qr.png(TEXT, side)))
    dark = {(int(x), int(y)) for x, y in re.findall(r"M(\d+) (\d+)h1v1h-1z", drawing)}
    assert dark == {(x, y) for x in range(side) for y in range(side) if not picture.getpixel((x, y))}

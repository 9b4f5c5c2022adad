"""Addresses and keys."""

from __future__ import annotations

import pytest
from eth_utils.address import to_checksum_address
from hypothesis import given
from hypothesis import strategies as st

from gateway.settings.addresses import checksummed, private_key


@given(st.binary(min_size=20, max_size=20))
def test_checksums_agree_with_eth_utils(raw: bytes) -> None:
    """EIP-55, from any accepted spelling."""
    right = to_checksum_address(raw)
    for spelling in (right, "0x" + raw.hex(), "0x" + raw.hex().upper()):
        assert checksummed(spelling) == right


@pytest.mark.parametrize(
    "address",
    ["0x70997970c51812dc3A010C7d01b50e0d17dc79C8", "0x036CbD53842c5426634e7929541eC2318f3dCF7E"],
)
def test_wrong_checksums(address: str) -> None:
    """One letter's case is enough."""
    with pytest.raises(ValueError, match="EIP-55"):
        checksummed(address)


def test_keys() -> None:
    """With or without 0x, in any case."""
    assert private_key("AB" * 32) == private_key("0x" + "ab" * 32) == "0x" + "ab" * 32


@pytest.mark.parametrize(
    "text",
    ["", "0x", "ab" * 31, "ab" * 33, "zz" * 32, "0x" + "0" * 64, "f" * 64, "ab" * 32 + "\n", " " + "ab" * 32],
)
def test_what_is_no_key(text: str) -> None:
    """The text is never repeated."""
    with pytest.raises(ValueError, match="private key") as caught:
        private_key(text)
    assert not text.strip() or text not in str(caught.value) or text == "0x"

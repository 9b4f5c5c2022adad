"""EVM addresses and settlement keys, judged without ever being repeated in a message."""

from __future__ import annotations

import re

from facilitator import checksum

ZERO = "0x" + "0" * 40
_KEY = re.compile(r"(?:0x)?([0-9a-fA-F]{64})\Z")
_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
"""The order of secp256k1 (SEC 2 section 2.4.1): private keys are below it."""

PUBLISHED_KEYS = frozenset(
    {
        "0x" + "0" * 63 + "1",
        "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
        "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
        "0x5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a",
    }
)
"""Keys everybody knows (one, and the first of anvil and Hardhat): money sent with them is lost."""


def checksummed(address: str) -> str:
    """The EIP-55 form of an address; ValueError where mixed case says another checksum."""
    right, given = checksum.checksummed(address), address[2:]
    if given not in (right[2:], given.lower(), given.upper()):
        raise ValueError("the checksum does not fit (EIP-55): a digit, or the case of a letter, is wrong")
    return right


def private_key(text: str) -> str:
    """A settlement key as 0x and 64 lower-case digits; ValueError for what is none."""
    match = _KEY.match(text)
    if not match:
        raise ValueError("must be a private key: 32 bytes of hex, with or without 0x")
    if not 0 < int(match[1], 16) < _ORDER:
        raise ValueError("is not a private key of secp256k1")
    return "0x" + match[1].lower()

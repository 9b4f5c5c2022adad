"""EVM addresses as people and strict libraries write them (EIP-55)."""

from __future__ import annotations

from functools import lru_cache

import sha3


@lru_cache(maxsize=4096)
def checksummed(address: str) -> str:
    """The EIP-55 form of an address in any case."""
    digits = address[2:].lower()
    nibbles = sha3.keccak_256(digits.encode()).hexdigest()
    pairs = zip(digits, nibbles, strict=False)
    return "0x" + "".join(digit.upper() if int(nibble, 16) >= 8 else digit for digit, nibble in pairs)

"""Payers and what they sign: real EIP-3009 signatures, made once and used in every history."""

from __future__ import annotations

import base64
import json
from functools import lru_cache

from coincurve import PrivateKey

from facilitator.exact_evm import address_of, digest
from facilitator.wire import Authorization, PaymentRequirements

CHAIN_ID = 84532
NETWORK = f"eip155:{CHAIN_ID}"
TOKEN = "0x036CbD53842c5426634e7929541eC2318f3dCF7e"
PAY_TO = "0x00000000000000000000000000000000000Ca511"
MAX_TIMEOUT = 300
_EVERY = 60


class Wallet:
    """One payer."""

    def __init__(self, number: int) -> None:
        self._key = PrivateKey((0xC0FFEE + number).to_bytes(32, "big"))
        self.address = address_of(self._key.public_key)

    def sign(self, authorization: Authorization, terms: PaymentRequirements) -> bytes:
        """65 bytes, r, s and v."""
        signed = self._key.sign_recoverable(digest(authorization, terms), hasher=None)
        return signed[:64] + bytes([27 + signed[64]])


@lru_cache(maxsize=64)
def wallet(number: int) -> Wallet:
    """The payer with this number."""
    return Wallet(number)


@lru_cache(maxsize=8)
def terms(amount: int) -> PaymentRequirements:
    """What the gateway asks for."""
    return PaymentRequirements(
        scheme="exact",
        network=NETWORK,
        chain_id=CHAIN_ID,
        v1_network="base-sepolia",
        asset=TOKEN,
        amount=amount,
        pay_to=PAY_TO,
        max_timeout=MAX_TIMEOUT,
        name="USDC",
        version="2",
    )


def valid_until(now: float) -> int:
    """A ``validBefore``, on a coarse grid so that signatures can be used again."""
    return int((now + MAX_TIMEOUT - _EVERY) // _EVERY + 1) * _EVERY


@lru_cache(maxsize=65536)
def authorization(payer: int, nonce: int, valid_before: int, amount: int) -> tuple[Authorization, bytes]:
    """What a payer signs, and the signature."""
    signed = Authorization(
        sender=wallet(payer).address,
        to=PAY_TO.lower(),
        value=amount,
        valid_after=0,
        valid_before=valid_before,
        nonce=nonce.to_bytes(32, "big"),
    )
    return signed, wallet(payer).sign(signed, terms(amount))


@lru_cache(maxsize=65536)
def credential(payer: int, nonce: int, valid_before: int, amount: int, forged: bool = False) -> str:
    """A ``PAYMENT-SIGNATURE`` header (x402 v2); ``forged``: signed by somebody else."""
    signed, signature = authorization(payer, nonce, valid_before, amount)
    if forged:
        signature = wallet(payer + 32).sign(signed, terms(amount))
    offer = terms(amount)
    document = {
        "x402Version": 2,
        "accepted": {
            "scheme": "exact",
            "network": NETWORK,
            "asset": TOKEN,
            "amount": str(amount),
            "payTo": PAY_TO,
            "maxTimeoutSeconds": MAX_TIMEOUT,
            "extra": {"name": offer.name, "version": offer.version},
        },
        "payload": {
            "signature": "0x" + signature.hex(),
            "authorization": {
                "from": signed.sender,
                "to": signed.to,
                "value": str(amount),
                "validAfter": "0",
                "validBefore": str(valid_before),
                "nonce": "0x" + signed.nonce.hex(),
            },
        },
    }
    return base64.b64encode(json.dumps(document).encode()).decode()

"""Credentials written by hand: an oracle that shares no code with the gateway, and a source of forgeries."""

from __future__ import annotations

import base64
import json
import os
import time
from dataclasses import dataclass, field
from typing import Any, Self

from eth_account import Account

from kit.answers import Answer

HEADER = {1: "X-PAYMENT", 2: "PAYMENT-SIGNATURE"}
_V1_CHAINS = {"base": 8453, "base-sepolia": 84532}
_TYPES = {
    "TransferWithAuthorization": [
        {"name": "from", "type": "address"},
        {"name": "to", "type": "address"},
        {"name": "value", "type": "uint256"},
        {"name": "validAfter", "type": "uint256"},
        {"name": "validBefore", "type": "uint256"},
        {"name": "nonce", "type": "bytes32"},
    ]
}


@dataclass
class SignedPayment:
    """A credential whose every part may be changed; ``resign`` signs it as it then stands."""

    version: int
    key: str
    requirement: dict[str, Any]
    authorization: dict[str, str]
    domain: dict[str, Any]
    signature: str = ""
    more: dict[str, Any] = field(default_factory=dict)
    """Further top-level fields of the payload: ``resource``, ``extensions``, or junk."""

    def resign(self) -> Self:
        """Signs the authorization under the domain."""
        numbers = ("value", "validAfter", "validBefore")
        message = {k: int(v) if k in numbers else v for k, v in self.authorization.items()}
        signed = Account.sign_typed_data(self.key, self.domain, _TYPES, message)
        self.signature = "0x" + signed.signature.hex().removeprefix("0x")
        return self

    def document(self) -> dict[str, Any]:
        """The payload object."""
        signed = {"signature": self.signature, "authorization": self.authorization}
        if self.version == 1:
            named = {"scheme": self.requirement["scheme"], "network": self.requirement["network"]}
            return {"x402Version": 1, **named, "payload": signed, **self.more}
        return {"x402Version": 2, "accepted": self.requirement, "payload": signed, **self.more}

    @property
    def headers(self) -> dict[str, str]:
        """The one request header that carries it."""
        return {HEADER[self.version]: encoded(self.document())}


def sign_payment(key: str, requirement: dict[str, Any], version: int = 2, **changes: Any) -> SignedPayment:
    """Signs what ``requirement`` (an entry of ``accepts``) asks for.

    ``changes`` replace fields of the authorization (``sender`` stands for ``from``) before it is signed.
    """
    payment = SignedPayment(
        version=version,
        key=key,
        requirement=dict(requirement),
        authorization={
            "from": str(changes.pop("sender", None) or Account.from_key(key).address),
            "to": requirement["payTo"],
            "value": str(requirement["amount" if version == 2 else "maxAmountRequired"]),
            "validAfter": "0",
            "validBefore": str(int(time.time()) + int(requirement["maxTimeoutSeconds"])),
            "nonce": "0x" + os.urandom(32).hex(),
        },
        domain={
            "name": requirement["extra"]["name"],
            "version": requirement["extra"]["version"],
            "chainId": _chain_id(requirement["network"]),
            "verifyingContract": requirement["asset"],
        },
    )
    payment.authorization.update({name: str(value) for name, value in changes.items()})
    return payment.resign()


def pay_challenge(key: str, answer: Answer, version: int = 2, **changes: Any) -> SignedPayment:
    """Signs the first offer of a 402 in the given version."""
    if version == 1:
        return sign_payment(key, answer.json()["accepts"][0], 1, **changes)
    challenge = answer.challenge
    payment = sign_payment(key, challenge["accepts"][0], 2, **changes)
    payment.more["resource"] = challenge["resource"]
    return payment


def encoded(document: Any) -> str:
    """An object as an x402 header carries it."""
    return base64.b64encode(json.dumps(document, separators=(",", ":")).encode()).decode()


def _chain_id(network: str) -> int:
    return _V1_CHAINS[network] if network in _V1_CHAINS else int(network.removeprefix("eip155:"))

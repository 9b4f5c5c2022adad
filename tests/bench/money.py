"""Payments signed in advance: thousands, distinct, each good for one request."""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count, cycle
from pathlib import Path
from typing import Any

import orjson
from bench.errors import NotMeasured
from bench.load import Payments
from bench.peers.tollway import PRICED
from bench.servers import Server, answers
from coincurve import PrivateKey

from facilitator.checksum import checksummed
from facilitator.exact_evm import address_of, digest
from facilitator.wire import PAYMENT_HEADER, Authorization, PaymentRequirements

CHAIN_ID = 84532
PAYERS = 256
HEADER = PAYMENT_HEADER[2]
_names = count(1)


@dataclass(frozen=True)
class Payer:
    """A wallet."""

    key: PrivateKey
    address: str
    """With its checksum: the official facilitator takes no other."""

    @classmethod
    def new(cls) -> Payer:
        """One nobody has seen before."""
        key = PrivateKey()
        return cls(key, checksummed(address_of(key.public_key)))


class Paymaster:
    """Signs what servers ask for."""

    def __init__(self, folder: Path, payers: Sequence[Payer] | None = None) -> None:
        self._folder = folder
        self.payers = payers or [Payer.new() for _ in range(PAYERS)]

    def payments(self, server: Server, number: int, path: str = PRICED) -> Payments:
        """That many payments for what this server asks of ``path``, in a file."""
        signed = self.sign(challenge(server, path), number, path)
        file = self._folder / f"payments-{next(_names)}"
        file.write_text("".join(f"{where} {value}\n" for where, value in signed))
        return Payments(file, HEADER)

    def sign(self, required: dict[str, Any], number: int, path: str = PRICED) -> list[tuple[str, str]]:
        """Paths and header values. Each asks for something of its own: who asks for the same again in a
        new payment is given what an earlier one bought, should its answer have been lost."""
        offer = required["accepts"][0]
        terms = _terms(offer)
        until = int(time.time()) + offer["maxTimeoutSeconds"]
        url, wallets = required["resource"]["url"], cycle(self.payers)
        found = []
        for query in (f"?n={next(_names)}" for _ in range(number)):
            named = {"x402Version": 2, "accepted": offer, "resource": {"url": url + query}}
            found.append((path + query, _signed(named, terms, next(wallets), until)))
        return found


def challenge(server: Server, path: str = PRICED) -> dict[str, Any]:
    """The v2 challenge of a server."""
    status, fields, _ = answers(server.url, path)
    if status != 402 or "payment-required" not in fields:
        raise NotMeasured(f"{path} is answered with {status}")
    decoded: dict[str, Any] = json.loads(base64.b64decode(fields["payment-required"]))
    return decoded


def _signed(named: dict[str, Any], terms: PaymentRequirements, payer: Payer, until: int) -> str:
    nonce = os.urandom(32)
    authorization = Authorization(payer.address.lower(), terms.pay_to.lower(), terms.amount, 0, until, nonce)
    signature = payer.key.sign_recoverable(digest(authorization, terms), hasher=None)
    signed = {
        "signature": f"0x{signature[:64].hex()}{signature[64] + 27:02x}",
        "authorization": {
            "from": payer.address,
            "to": terms.pay_to,
            "value": str(terms.amount),
            "validAfter": "0",
            "validBefore": str(until),
            "nonce": f"0x{nonce.hex()}",
        },
    }
    return base64.b64encode(orjson.dumps({**named, "payload": signed})).decode()


def _terms(offer: dict[str, Any]) -> PaymentRequirements:
    return PaymentRequirements(
        scheme=offer["scheme"],
        network=offer["network"],
        chain_id=CHAIN_ID,
        v1_network=None,
        asset=offer["asset"],
        amount=int(offer["amount"]),
        pay_to=offer["payTo"],
        max_timeout=offer["maxTimeoutSeconds"],
        name=offer["extra"]["name"],
        version=offer["extra"]["version"],
    )

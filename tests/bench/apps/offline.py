"""Verification without a chain, in CPU time: ``python -m bench.apps.offline WHO NUMBER``

``verify`` decodes a header nobody saw before, finds our own terms and tells whether they are signed for:
digest, recovery, time. ``rail`` is all that the gateway does with one before its first I/O, what it will
record included. The others are given decoded fields. Prints microseconds of CPU for each payment as JSON.
"""

from __future__ import annotations

import base64
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bench.money import CHAIN_ID, HEADER, Payer, Paymaster
from bench.peers.one_by_one import OFFER

URL = "http://shop.example/v1/1k"
_NUMBERS = ("value", "validAfter", "validBefore")
_FIELDS = {"from": "address", "to": "address", **dict.fromkeys(_NUMBERS, "uint256"), "nonce": "bytes32"}
_TYPES = {"TransferWithAuthorization": [{"name": name, "type": kind} for name, kind in _FIELDS.items()]}
Verify = Callable[[Any], bool]


def whole() -> tuple[Callable[[str], Any], Verify]:
    """Our verification, with decoding."""
    from facilitator.base import Accepted
    from facilitator.exact_evm import check_time, verify_signature
    from facilitator.terms import match, same_resource
    from facilitator.wire import PaymentPayload, PaymentRequirements, decode_payment

    terms = _terms()

    def verify(value: str) -> bool:
        payload = decode_payment(value, 2)
        found = match(payload, [terms])
        if not isinstance(payload, PaymentPayload) or not isinstance(found, PaymentRequirements):
            return False
        signed = same_resource(payload, URL) and verify_signature(payload, found) == Accepted()
        return signed and check_time(payload.authorization, int(time.time()), 30) is None

    return lambda value: value, verify


def rail() -> tuple[Callable[[str], Any], Verify]:
    """All that the gateway does with a header."""
    from gateway.rails.base import Credential, Quote
    from gateway.rails.x402 import X402Rail
    from policies.money import parse_money

    terms = _terms()
    made = X402Rail(
        lambda money, own: (terms,),
        _Nobody(),  # type: ignore[arg-type]
        versions=frozenset({1, 2}),
        settle_within={terms.network: 30.0},
        worth=lambda each: each.amount,
    )
    quote = Quote(parse_money("$0.01"), URL, "", "", 30.0)
    return lambda value: value, lambda value: isinstance(made.read(HEADER, value, [quote], None), Credential)


def _terms() -> Any:
    from facilitator.wire import PaymentRequirements

    return PaymentRequirements(
        scheme="exact",
        network=OFFER["network"],
        chain_id=CHAIN_ID,
        v1_network="base-sepolia",
        asset=OFFER["asset"],
        amount=int(OFFER["amount"]),
        pay_to=OFFER["payTo"],
        max_timeout=300,
        name="USDC",
        version="2",
    )


class _Nobody:
    """A facilitator that is never asked."""

    def ready(self, network: str) -> bool:
        return True

    def extra(self, network: str, scheme: str) -> dict[str, Any]:
        return {}

    def senders(self) -> list[str]:
        return ["eip155:84532:0x"]

    def sender_for(self, network: str, payment_id: str) -> str:
        return self.senders()[0]


def eth_account() -> tuple[Callable[[str], Any], Verify]:
    """eth-account, with whichever backends the environment names."""
    from eth_account import Account
    from eth_account.messages import encode_typed_data

    domain = {"name": "USDC", "version": "2", "chainId": CHAIN_ID, "verifyingContract": OFFER["asset"]}

    def verify(signed: Mapping[str, Any]) -> bool:
        message = {k: int(v) if k in _NUMBERS else v for k, v in signed["authorization"].items()}
        signable = encode_typed_data(domain, _TYPES, message)
        found: str = Account.recover_message(signable, signature=signed["signature"])
        return found == signed["authorization"]["from"]

    return _payload, verify


def sdk() -> tuple[Callable[[str], Any], Verify]:
    """The official SDK's hash and its signature check."""
    from x402.mechanisms.evm import hash_eip3009_authorization, verify_eoa_signature
    from x402.mechanisms.evm.types import ExactEIP3009Authorization

    def verify(signed: Mapping[str, Any]) -> bool:
        said = signed["authorization"]
        order = ("from", "to", "value", "validAfter", "validBefore", "nonce")
        authorization = ExactEIP3009Authorization(*(said[name] for name in order))
        hashed = hash_eip3009_authorization(authorization, CHAIN_ID, OFFER["asset"], "USDC", "2")
        return verify_eoa_signature(hashed, bytes.fromhex(signed["signature"][2:]), said["from"])

    return _payload, verify


def _payload(value: str) -> Any:
    return json.loads(base64.b64decode(value))["payload"]


WHO = {"verify": whole, "rail": rail, "eth-account": eth_account, "sdk": sdk}


def main() -> None:
    """Verifies so many payments it never saw before."""
    prepare, verify = WHO[sys.argv[1]]()
    payers = [Payer.new() for _ in range(16)]
    required = {"accepts": [OFFER], "resource": {"url": URL}}
    signed = Paymaster(Path(tempfile.gettempdir()), payers).sign(required, int(sys.argv[2]) + 10)
    given = [prepare(value) for _, value in signed]
    assert all(verify(each) for each in given[:10])
    started = time.process_time()
    good = sum(verify(each) for each in given[10:])
    taken = time.process_time() - started
    assert good == len(given) - 10, f"{good} of {len(given) - 10} are good"
    sys.stdout.write(json.dumps({"cpu_us": taken * 1e6 / good}) + "\n")


if __name__ == "__main__":
    main()

"""Every row of the payment corpus that one credential can show: decoding and offline verification."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import Any

import pytest

from facilitator.base import Refused
from facilitator.exact_evm import SECP256K1_N, check_time, digest, replay_key, verify_signature
from facilitator.terms import match, same_resource
from facilitator.wire import (
    Authorization,
    MalformedPayment,
    PaymentRequirements,
    decode_payment,
    payment_document,
)

RESOURCE = "https://gw.test/paid/item"
CORPUS = Path(__file__).parents[1] / "corpus" / "payment.jsonl"
ROWS = [json.loads(line) for line in CORPUS.read_text().splitlines()]
SINGLE = [row for row in ROWS if "header" in row]
ACCEPTABLE = {"OK": {"OK"}, "PAY402": {"402"}, "BAD400": {"400"}, "BAD4XX": {"400", "402"}}


def put(document: Any, path: str, value: Any) -> None:
    *parents, last = path.strip("/").split("/")
    for key in parents:
        document = document.setdefault(key, {})
    document[last] = value


def get(document: Any, path: str) -> Any:
    for key in path.strip("/").split("/"):
        document = document[key]
    return document


class Craft:
    """A valid credential and what the corpus does to it."""

    def __init__(self, payer: Any, terms: PaymentRequirements, version: int) -> None:
        self.payer, self.terms = payer, terms
        self.document = payment_document(payer.pay(terms, version=version))
        if version == 2:
            self.document["resource"] = {"url": RESOURCE, "mimeType": "application/json"}
        self.raw: str | None = None

    def header(self) -> str:
        return self.encode(json.dumps(self.document)) if self.raw is None else self.raw

    def encode(self, text: str) -> str:
        return base64.b64encode(text.encode()).decode()

    def apply(self, op: dict[str, Any]) -> None:
        getattr(self, "op_" + op["op"])(**{key: value for key, value in op.items() if key != "op"})

    def op_set_raw(self, value: str) -> None:
        self.raw = value

    def op_set(self, path: str, value: Any) -> None:
        put(self.document, path, value)

    def op_resign_set(self, path: str, value: Any) -> None:
        put(self.document, path, value)
        signed = self.document["payload"]["authorization"]
        try:
            meant = Authorization(
                signed["from"].lower(),
                signed["to"].lower(),
                int(signed["value"]),
                int(signed["validAfter"]),
                int(signed["validBefore"]),
                bytes.fromhex(signed["nonce"][2:]),
            )
            signature = self.payer.sign(digest(meant, self.terms))
        except (ValueError, TypeError, OverflowError):
            return
        self.document["payload"]["signature"] = "0x" + signature.hex()

    def op_raw_json_dup_key(self, path: str, second: str) -> None:
        last = path.rpartition("/")[2]
        first = f'"{last}": {json.dumps(get(self.document, path))}'
        text = json.dumps(self.document)
        assert first in text
        self.raw = self.encode(text.replace(first, f'{first}, "{last}": {json.dumps(second)}', 1))

    def signature(self, path: str, change: Any) -> None:
        old = bytes.fromhex(get(self.document, path)[2:])
        put(self.document, path, "0x" + change(old).hex())

    def op_flip_byte(self, path: str) -> None:
        self.signature(path, lambda old: bytes([old[0] ^ 1]) + old[1:])

    def op_v01(self, path: str) -> None:
        self.signature(path, lambda old: old[:64] + bytes([old[64] - 27]))

    def op_eip2098(self, path: str) -> None:
        self.signature(
            path, lambda old: old[:32] + bytes([old[32] | (0x80 if old[64] == 28 else 0)]) + old[33:64]
        )

    def op_wrap6492(self, path: str, factory: str) -> None:
        assert factory == "attacker"
        self.signature(path, wrap6492)


def wrap6492(signature: bytes) -> bytes:
    from eth_abi.abi import encode

    wrapped: bytes = encode(["address", "bytes", "bytes"], ["0x" + "66" * 20, b"call me", signature])
    return wrapped + bytes.fromhex("6492" * 16)


def judge(header: str, version: int, terms: PaymentRequirements) -> str:
    try:
        payload = decode_payment(header, version)
    except MalformedPayment:
        return "400"
    ours = match(payload, [terms])
    if isinstance(ours, Refused) or not same_resource(payload, RESOURCE):
        return "402"
    verdict = verify_signature(payload, ours)
    timely = check_time(payload.authorization, int(time.time()), 60)
    return "402" if isinstance(verdict, Refused) or timely is not None else "OK"


@pytest.mark.parametrize("row", SINGLE, ids=[row["id"] for row in SINGLE])
def test_row(row: dict[str, Any], payer: Any, terms: PaymentRequirements) -> None:
    version = 1 if row["header"] == "X-PAYMENT" else 2
    craft = Craft(payer, terms, version)
    for op in row["ops"]:
        craft.apply(op)
    assert judge(craft.header(), version, terms) in ACCEPTABLE[row["expect"]]


def test_one_replay_key_for_every_spelling(payer: Any, terms: PaymentRequirements) -> None:
    """seq-replay-cross-version, seq-replay-reencode, and v 0/1 against 27/28."""
    craft = Craft(payer, terms, 2)
    signed = craft.document["payload"]
    v1 = {"x402Version": 1, "scheme": "exact", "network": "base-sepolia", "payload": signed}
    upper = json.loads(json.dumps(craft.document))
    for key in ("from", "to", "nonce"):
        old = upper["payload"]["authorization"][key]
        upper["payload"]["authorization"][key] = "0x" + old[2:].upper()
    upper["payload"]["signature"] = "0x" + signed["signature"][2:].upper()
    turned = dict(reversed(list(upper.items())))
    spellings = [
        (craft.header(), 2),
        (craft.encode(json.dumps(v1)), 1),
        (craft.encode(json.dumps(upper)), 2),
        (craft.encode(json.dumps(turned, indent=3)), 2),
    ]
    keys = set()
    for header, version in spellings:
        assert judge(header, version, terms) == "OK"
        payload = decode_payment(header, version)
        keys.add(replay_key(terms.chain_id, terms.asset, payload.authorization))
    assert len(keys) == 1
    assert keys == {key.lower() for key in keys}


def test_base64url_is_malformed(payer: Any, terms: PaymentRequirements) -> None:
    text = json.dumps({**Craft(payer, terms, 2).document, "x": "???>>>~~~"})
    header = base64.urlsafe_b64encode(text.encode()).decode()
    assert set(header) & set("-_")
    assert judge(header, 2, terms) == "400"


def test_high_s_is_refused(payer: Any, terms: PaymentRequirements) -> None:
    craft = Craft(payer, terms, 2)
    craft.signature(
        "/payload/signature",
        lambda old: (
            old[:32]
            + (SECP256K1_N - int.from_bytes(old[32:64], "big")).to_bytes(32, "big")
            + bytes([55 - old[64]])
        ),
    )
    assert judge(craft.header(), 2, terms) == "402"

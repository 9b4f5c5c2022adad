"""Every row of the payment corpus that one credential can show: decoding and offline verification."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import Any

import pytest
from kit.mutate import Craft

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


def craft_for(payer: Any, terms: PaymentRequirements, version: int) -> Craft:
    document = payment_document(payer.pay(terms, version=version))
    if version == 2:
        document["resource"] = {"url": RESOURCE, "mimeType": "application/json"}

    def sign(signed: dict[str, Any]) -> str | None:
        try:
            meant = Authorization(
                signed["from"].lower(),
                signed["to"].lower(),
                int(signed["value"]),
                int(signed["validAfter"]),
                int(signed["validBefore"]),
                bytes.fromhex(signed["nonce"][2:]),
            )
            return "0x" + payer.sign(digest(meant, terms)).hex()
        except (ValueError, TypeError, OverflowError):
            return None

    return Craft(document, sign)


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
    craft = craft_for(payer, terms, version)
    for op in row["ops"]:
        craft.apply(op)
    assert judge(craft.header(), version, terms) in ACCEPTABLE[row["expect"]]


def test_one_replay_key_for_every_spelling(payer: Any, terms: PaymentRequirements) -> None:
    """seq-replay-cross-version, seq-replay-reencode, and v 0/1 against 27/28."""
    craft = craft_for(payer, terms, 2)
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
    text = json.dumps({**craft_for(payer, terms, 2).document, "x": "???>>>~~~"})
    header = base64.urlsafe_b64encode(text.encode()).decode()
    assert set(header) & set("-_")
    assert judge(header, 2, terms) == "400"


def test_high_s_is_refused(payer: Any, terms: PaymentRequirements) -> None:
    craft = craft_for(payer, terms, 2)
    craft.signature(
        "/payload/signature",
        lambda old: (
            old[:32]
            + (SECP256K1_N - int.from_bytes(old[32:64], "big")).to_bytes(32, "big")
            + bytes([55 - old[64]])
        ),
    )
    assert judge(craft.header(), 2, terms) == "402"

"""Which payment an opaque payload is."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from facilitator.opaque import signed_digest
from facilitator.strict import MalformedPayment
from facilitator.wire import OpaquePayload

MESSAGE = b"\x80what is signed"


def digest(signed: Any, network: str = "solana:devnet", scheme: str = "exact") -> str:
    return signed_digest(OpaquePayload(2, scheme, network, json.dumps({"payload": signed}).encode()))


def transaction(count: bytes, signatures: int, message: bytes = MESSAGE) -> dict[str, str]:
    wire = count + bytes(range(64)) * signatures + message
    return {"transaction": base64.b64encode(wire).decode()}


def test_a_solana_transaction_is_its_message() -> None:
    one = digest(transaction(b"\x01", 1))
    assert one == digest(transaction(b"\x02", 2)) == digest(transaction(b"\x01", 1) | {"more": []})
    assert one == digest(transaction(b"\x82\x01", 130)), "the count is a compact-u16"
    assert one != digest(transaction(b"\x01", 1, MESSAGE + b"."))


@pytest.mark.parametrize("network", ["tvm:-239", "aptos:1"])
def test_of_what_is_not_known_every_member_counts(network: str) -> None:
    assert digest({"a": 1, "b": "ä"}, network) == digest({"b": "ä", "a": 1}, network)
    assert digest({"a": 1}, network) != digest({"a": 2}, network)
    assert digest({"a": 1}, "solana:devnet", "upto") == digest({"a": 1}, network)


@pytest.mark.parametrize(
    "signed",
    [
        None,
        [],
        {},
        {"transaction": None},
        {"transaction": ""},
        {"transaction": "AQ=="},
        {"transaction": "not base64!"},
        {"transaction": "ä"},
        transaction(b"\x00", 0),
        transaction(b"\x01", 1, b""),
        transaction(b"\xff\xff\xff", 1),
    ],
    ids=str,
)
def test_what_is_no_transaction(signed: Any) -> None:
    with pytest.raises(MalformedPayment):
        digest(signed)

"""Strict decoding, and codecs against the official SDK."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from facilitator.challenge import (
    decode_receipt,
    decode_required,
    payment_required_v1,
    payment_required_v2,
    receipt,
    requirement_v1,
)
from facilitator.strict import MAX_DEPTH, header_object
from facilitator.wire import (
    Authorization,
    MalformedPayment,
    PaymentPayload,
    PaymentRequirements,
    decode_payment,
    encode_header,
    encode_payment,
    payment_document,
    read_payment,
)

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def header(text: str | bytes) -> str:
    return base64.b64encode(text if isinstance(text, bytes) else text.encode()).decode()


uint256 = st.integers(0, 2**256 - 1)
address = st.binary(min_size=20, max_size=20).filter(any).map(lambda raw: "0x" + raw.hex())
authorizations = st.builds(
    Authorization, address, address, uint256, uint256, uint256, st.binary(min_size=32, max_size=32)
)


@unhurried
@given(authorizations, st.binary(min_size=1, max_size=200), st.sampled_from([1, 2]))
def test_round_trip(authorization: Authorization, signature: bytes, version: int) -> None:
    echo = {"scheme": "exact", "network": "n", "amount": "1", "asset": "a", "payTo": "b"}
    plain = PaymentPayload(version, "exact", "n", authorization, signature, echo if version == 2 else None)
    assert decode_payment(encode_payment(plain), version) == plain


def test_resource_survives(payer: Any, terms: PaymentRequirements) -> None:
    document = payment_document(payer.pay(terms)) | {"resource": {"url": "https://a/b", "tags": ["x"]}}
    read = read_payment(document, 2)
    assert read.resource_url == "https://a/b"
    assert payment_document(read)["resource"] == {"url": "https://a/b"}


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "1",
        '"x"',
        "nul",
        "{} {}",
        '{"a": NaN}',
        '{"a": Infinity}',
        '{"a": -Infinity}',
        '{"a": 1e999}',
        '{"a": 9223372036854775808}',
        '{"a": ' + "9" * 5000 + "}",
        '{"a": 1, "a": 1}',
        '{"a": {"b": [{"c": 1, "c": 2}]}}',
        '{"a": 1, "\\u0061": 2}',
        '{"a": "\\ud800"}',
        '{"\\udfff": 1}',
        '{"a": "\n"}',
        "\ufeff{}",
        '{"a": ' * 40 + "1" + "}" * 40,
        '{"a": ' + "[" * 100_000 + "]" * 100_000 + "}",
    ],
)
def test_not_one_meaning(text: str) -> None:
    with pytest.raises(MalformedPayment):
        header_object(header(text))


@pytest.mark.parametrize(
    "value", ["", "e30", "e30=\n", " e30=", "e3 0=", "e30==", "====", "e30_", "é30=", "e=0="]
)
def test_not_base64(value: str) -> None:
    with pytest.raises(MalformedPayment):
        header_object(value)


def test_depth_counts_nesting_not_brackets_in_strings() -> None:
    flat = {"a": "[{" * 500 + '"\\', "b": [[]] * 100}
    assert header_object(header(json.dumps(flat))) == flat
    nested = '{"a":' * (MAX_DEPTH - 1) + "{}" + "}" * (MAX_DEPTH - 1)
    assert header_object(header(nested))
    with pytest.raises(MalformedPayment):
        header_object(header('{"a":' + nested + "}"))


def test_surrogate_pairs_are_text() -> None:
    assert header_object(header('{"a": "\\ud83d\\ude00"}')) == {"a": "😀"}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("x402Version", 2.0),
        ("x402Version", True),
        ("x402Version", None),
        ("x402Version", 3),
        ("accepted", []),
        ("accepted", None),
        ("accepted.scheme", 1),
        ("accepted.network", None),
        ("accepted.amount", 10000),
        ("accepted.asset", 1),
        ("accepted.payTo", None),
        ("resource", "https://a"),
        ("resource.url", 7),
        ("payload", "x"),
        ("payload.signature", "0x0"),
        ("payload.signature", "0xzz"),
        ("payload.signature", "ab"),
        ("payload.signature", "0x" + "00" * 4097),
        ("payload.signature", "0x" + "00" * 65 + "\n"),
        ("payload.authorization", None),
        ("payload.authorization.value", ""),
        ("payload.authorization.value", "007"),
        ("payload.authorization.value", "-1"),
        ("payload.authorization.value", " 1"),
        ("payload.authorization.value", "1\n"),
        ("payload.authorization.value", "١٢"),
        ("payload.authorization.value", "1e3"),
        ("payload.authorization.validAfter", 0),
        ("payload.authorization.validBefore", "0x10"),
        ("payload.authorization.from", "0X" + "11" * 20),
        ("payload.authorization.from", "0x" + "11" * 20 + "\n"),
        ("payload.authorization.to", "11" * 20),
        ("payload.authorization.nonce", "0x" + "11" * 33),
    ],
)
def test_malformed_fields(path: str, value: Any, payer: Any, terms: PaymentRequirements) -> None:
    document = json.loads(json.dumps(payment_document(payer.pay(terms)) | {"resource": {"url": "u"}}))
    target = document
    *parents, last = path.split(".")
    for key in parents:
        target = target[key]
    target[last] = value
    with pytest.raises(MalformedPayment) as raised:
        decode_payment(header(json.dumps(document)), 2)
    assert last in raised.value.detail
    assert len(raised.value.detail) < 100


def test_unknown_fields_are_tolerated(payer: Any, terms: PaymentRequirements) -> None:
    document = payment_document(payer.pay(terms)) | {"extensions": {"bazaar": {}}, "scheme": 7}
    document["payload"]["authorization"]["note"] = 1.5
    assert decode_payment(header(json.dumps(document)), 2).scheme == "exact"


def test_wrong_checksum_is_tolerated_and_lower_cased(payer: Any, terms: PaymentRequirements) -> None:
    document = payment_document(payer.pay(terms))
    swapped = document["payload"]["authorization"]["to"][2:].swapcase()
    document["payload"]["authorization"]["to"] = "0x" + swapped
    assert read_payment(document, 2).authorization.to == terms.pay_to.lower()


@unhurried
@given(st.binary(max_size=300))
def test_garbage_is_malformed(data: bytes) -> None:
    for value in (data.decode("latin-1"), header(data)):
        with pytest.raises(MalformedPayment):
            decode_payment(value, 2)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abc"), inner, max_size=2),
    max_leaves=5,
)
NAMES = ["x402Version", "accepted", "payload", "scheme", "network"]


@unhurried
@given(st.dictionaries(st.sampled_from(NAMES), json_values))
def test_any_json_is_decoded_or_malformed(document: dict[str, Any]) -> None:
    for version in (1, 2):
        with pytest.raises(MalformedPayment):
            decode_payment(header(json.dumps(document)), version)


def sdk_account() -> Any:
    from eth_account import Account

    return Account.create()


def test_reads_what_the_sdk_writes_v2(terms: PaymentRequirements) -> None:
    from x402 import x402ClientSync
    from x402.http.utils import decode_payment_required_header, encode_payment_signature_header
    from x402.mechanisms.evm.exact import register_exact_evm_client

    client = x402ClientSync()
    register_exact_evm_client(client, sdk_account())
    challenge = payment_required_v2([terms], "https://gw.test/a", "about ☂", "application/json", "why")
    required = decode_payment_required_header(encode_header(challenge))
    assert required.error == "why"
    payload = client.create_payment_payload(required)
    read = decode_payment(encode_payment_signature_header(payload), 2)
    assert read.resource_url == "https://gw.test/a"
    assert read.accepted is not None
    assert read.accepted["maxTimeoutSeconds"] == 300
    verify_against(read, terms)


def test_reads_what_the_sdk_writes_v1(terms: PaymentRequirements) -> None:
    from x402 import x402ClientSync
    from x402.http.utils import encode_payment_signature_header
    from x402.mechanisms.evm.exact import register_exact_evm_client
    from x402.schemas.v1 import PaymentRequiredV1

    client = x402ClientSync()
    register_exact_evm_client(client, sdk_account())
    body = payment_required_v1([terms], "https://gw.test/a", "", "", "")
    assert body["accepts"][0]["description"] == body["accepts"][0]["mimeType"] == ""
    payload = client.create_payment_payload(PaymentRequiredV1.model_validate(body))
    verify_against(decode_payment(encode_payment_signature_header(payload), 1), terms)


def verify_against(read: PaymentPayload, terms: PaymentRequirements) -> None:
    from facilitator.base import Accepted
    from facilitator.exact_evm import verify_signature
    from facilitator.terms import match

    assert match(read, [terms]) == terms
    assert verify_signature(read, terms) == Accepted()


def test_the_sdk_reads_our_payment(payer: Any, terms: PaymentRequirements) -> None:
    from x402.http.utils import decode_payment_signature_header

    for version in (1, 2):
        ours = payer.pay(terms, version=version)
        theirs = decode_payment_signature_header(encode_payment(ours))
        assert theirs.x402_version == version
        assert theirs.get_network() == ours.network
        assert theirs.payload["authorization"]["nonce"] == "0x" + ours.authorization.nonce.hex()


def test_receipt_and_the_sdk() -> None:
    from x402.http.utils import decode_payment_response_header

    done = receipt(
        success=True, network="base-sepolia", payer="0xp", transaction="0xt", extra={"paymentId": "pay_1"}
    )
    assert decode_payment_response_header(done).transaction == "0xt"
    read = decode_receipt(done)
    assert (read.success, read.network, read.payer, read.error_reason) == (True, "base-sepolia", "0xp", None)
    assert read.extra == {"paymentId": "pay_1"}
    failed = receipt(success=False, network="eip155:1", payer="0xp", error_reason="settlement_pending")
    assert decode_payment_response_header(failed).error_reason == "settlement_pending"
    assert decode_receipt(failed).error_reason == "settlement_pending"
    assert decode_receipt(failed).transaction == ""


def test_required_is_read_back(terms: PaymentRequirements) -> None:
    about = ([terms], "https://gw.test/a", "d", "m", "why")
    second = decode_required(encode_header(payment_required_v2(*about)))
    first = decode_required(json.dumps(payment_required_v1(*about)).encode())
    assert (second.version, first.version) == (2, 1)
    assert second.resource == first.resource == "https://gw.test/a"
    assert second.offers[0].network == "eip155:84532"
    assert first.offers[0].network == "base-sepolia"
    for offer in (first.offers[0], second.offers[0]):
        assert (offer.amount, offer.pay_to, offer.max_timeout) == (10_000, terms.pay_to, 300)
        assert offer.extra == {"name": "USDC", "version": "2"}
    assert second.offers[0].document["amount"] == "10000"


@pytest.mark.parametrize("source", [b"<html>", b"{}", b'{"x402Version": 1, "accepts": [7]}', "e30=", "?"])
def test_no_challenge(source: str | bytes) -> None:
    with pytest.raises(MalformedPayment):
        decode_required(source)


def test_v1_has_only_networks_with_a_v1_name(terms: PaymentRequirements) -> None:
    from dataclasses import replace

    nameless = replace(terms, v1_network=None)
    assert payment_required_v1([nameless, terms], "u", "", "", "")["accepts"] == [
        requirement_v1(terms, "u", "", "")
    ]
    assert len(payment_required_v2([nameless, terms], "u", "", "", "")["accepts"]) == 2
    with pytest.raises(ValueError, match="no v1 name"):
        requirement_v1(nameless, "u", "", "")

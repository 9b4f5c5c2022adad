"""x402 v1 and v2 objects and the payment credential's codec.

One normal form inside; versions exist only here and in :mod:`facilitator.challenge`.
Source: x402 specification v1 and v2 (scheme ``exact`` on EVM) and EIP-3009.
"""

from __future__ import annotations

import base64
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from facilitator.identifier import identifier_in
from facilitator.strict import Fields, MalformedPayment, header_bytes, json_object

__all__ = [
    "PAYMENT_HEADER",
    "RECEIPT_HEADER",
    "Authorization",
    "MalformedPayment",
    "OpaquePayload",
    "Payload",
    "PaymentPayload",
    "PaymentRequirements",
    "decode_payment",
    "encode_header",
    "encode_payment",
    "payment_document",
    "read_opaque",
    "read_payment",
]

PAYMENT_HEADER = {1: "X-PAYMENT", 2: "PAYMENT-SIGNATURE"}
RECEIPT_HEADER = {1: "X-PAYMENT-RESPONSE", 2: "PAYMENT-RESPONSE"}

MAX_SIGNATURE = 4096
"""Bytes; an ERC-6492 wrapper is about a thousand."""

ZERO_ADDRESS = "0x" + "0" * 40


@dataclass(frozen=True, slots=True)
class Authorization:
    """EIP-3009 ``TransferWithAuthorization``; addresses lower-case, amounts atomic, times unix seconds."""

    sender: str
    to: str
    value: int
    valid_after: int
    valid_before: int
    nonce: bytes


@dataclass(frozen=True, slots=True)
class PaymentPayload:
    """A decoded payment credential. ``accepted`` is the client's echo (v2), never trusted."""

    version: int
    scheme: str
    network: str
    authorization: Authorization
    signature: bytes
    accepted: dict[str, Any] | None = None
    resource_url: str | None = None
    identifier: str | None = None
    """The client's id of the extension ``payment-identifier`` (v2)."""


@dataclass(frozen=True, slots=True)
class OpaquePayload:
    """A credential of a scheme or network that only a remote facilitator understands."""

    version: int
    scheme: str
    network: str
    raw: bytes
    """The JSON object as the client wrote it."""
    accepted: dict[str, Any] | None = None
    resource_url: str | None = None
    identifier: str | None = None


Payload = PaymentPayload | OpaquePayload


@dataclass(frozen=True, slots=True)
class PaymentRequirements:
    """What we ask for: our copy is what is verified and settled, never the echo."""

    scheme: str
    network: str
    """CAIP-2"""
    chain_id: int
    v1_network: str | None
    asset: str
    """Checksummed token address."""
    amount: int
    """Atomic units."""
    pay_to: str
    """Checksummed address."""
    max_timeout: int
    """Seconds."""
    name: str
    """EIP-712 domain name of the token."""
    version: str
    """EIP-712 domain version of the token."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """What the facilitator wants clients to know (``/supported``), beside the domain."""


def decode_payment(header: str, version: int, opaque: Collection[str] = ()) -> Payload:
    """Read a ``PAYMENT-SIGNATURE`` (version 2) or ``X-PAYMENT`` (version 1) header.

    Payments on ``opaque`` networks are only understood by a facilitator. Unknown fields are tolerated.
    MalformedPayment for everything that has no single meaning.
    """
    raw = header_bytes(header)
    document = json_object(raw)
    accepted = document.get("accepted")
    if version == 2 and isinstance(accepted, dict) and accepted.get("network") in opaque:
        return read_opaque(document, raw)
    return read_payment(document, version)


def read_opaque(document: Mapping[str, Any], raw: bytes) -> OpaquePayload:
    """A version 2 credential of which only the envelope is read; ``raw`` is its text."""
    fields = _versioned(document, 2)
    accepted = _accepted(fields)
    fields.child("payload")
    return OpaquePayload(
        version=2,
        scheme=accepted.text("scheme"),
        network=accepted.text("network"),
        raw=raw,
        accepted=fields.mapping("accepted"),
        resource_url=_resource_url(fields),
        identifier=identifier_in(fields),
    )


def read_payment(document: Mapping[str, Any], version: int) -> PaymentPayload:
    """The same from a JSON object, as it stands in a facilitator's request; see decode_payment."""
    fields = _versioned(document, version)
    return _read_v2(fields) if version == 2 else _read_v1(fields)


def _versioned(document: Mapping[str, Any], version: int) -> Fields:
    fields = Fields(document)
    if fields.integer("x402Version") != version:
        raise fields.wrong("x402Version", f"must be {version} here")
    return fields


def _accepted(fields: Fields) -> Fields:
    accepted = fields.child("accepted")
    for key in ("amount", "asset", "payTo"):
        accepted.text(key)
    return accepted


def _read_v1(fields: Fields) -> PaymentPayload:
    payload = fields.child("payload")
    return PaymentPayload(
        version=1,
        scheme=fields.text("scheme"),
        network=fields.text("network"),
        authorization=_authorization(payload.child("authorization")),
        signature=payload.octets("signature", 1, MAX_SIGNATURE),
    )


def _read_v2(fields: Fields) -> PaymentPayload:
    payload, accepted = fields.child("payload"), _accepted(fields)
    return PaymentPayload(
        version=2,
        scheme=accepted.text("scheme"),
        network=accepted.text("network"),
        authorization=_authorization(payload.child("authorization")),
        signature=payload.octets("signature", 1, MAX_SIGNATURE),
        accepted=fields.mapping("accepted"),
        resource_url=_resource_url(fields),
        identifier=identifier_in(fields),
    )


def _authorization(fields: Fields) -> Authorization:
    sender = fields.address("from")
    if sender == ZERO_ADDRESS:
        raise fields.wrong("from", "the zero address signs nothing")
    return Authorization(
        sender=sender,
        to=fields.address("to"),
        value=fields.uint("value"),
        valid_after=fields.uint("validAfter"),
        valid_before=fields.uint("validBefore"),
        nonce=fields.octets("nonce", 32, 32),
    )


def _resource_url(fields: Fields) -> str | None:
    if fields.get("resource") is None:
        return None
    resource = fields.child("resource")
    return None if resource.get("url") is None else resource.text("url")


def encode_payment(payload: PaymentPayload) -> str:
    """The header value a paying client sends."""
    return encode_header(payment_document(payload))


def payment_document(payload: PaymentPayload) -> dict[str, Any]:
    """The credential as a JSON object; ``read_payment`` gives the same payload back."""
    signed = {
        "signature": "0x" + payload.signature.hex(),
        "authorization": _authorization_document(payload.authorization),
    }
    if payload.version == 1:
        return {"x402Version": 1, "scheme": payload.scheme, "network": payload.network, "payload": signed}
    document: dict[str, Any] = {"x402Version": 2, "accepted": payload.accepted, "payload": signed}
    if payload.resource_url is not None:
        document["resource"] = {"url": payload.resource_url}
    return document


def _authorization_document(authorization: Authorization) -> dict[str, str]:
    return {
        "from": authorization.sender,
        "to": authorization.to,
        "value": str(authorization.value),
        "validAfter": str(authorization.valid_after),
        "validBefore": str(authorization.valid_before),
        "nonce": "0x" + authorization.nonce.hex(),
    }


def encode_header(document: Mapping[str, Any]) -> str:
    """Standard padded base64 of compact UTF-8 JSON, as every x402 header is written."""
    return base64.b64encode(orjson.dumps(document)).decode("ascii")

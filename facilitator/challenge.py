"""The 402's objects and the receipt, v1 and v2, written for clients and read by our own client.

Source: x402 specification v1 (body) and v2 (``PAYMENT-REQUIRED``), sections on
PaymentRequired, PaymentRequirements and SettleResponse.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from facilitator.identifier import DECLARATION
from facilitator.strict import Fields, header_object, json_object
from facilitator.wire import PaymentRequirements, encode_header


def requirement_v2(requirements: PaymentRequirements) -> dict[str, Any]:
    """One ``accepts`` entry of version 2."""
    return {
        "scheme": requirements.scheme,
        "network": requirements.network,
        "amount": str(requirements.amount),
        "asset": requirements.asset,
        "payTo": requirements.pay_to,
        "maxTimeoutSeconds": requirements.max_timeout,
        "extra": _extra(requirements),
    }


def requirement_v1(
    requirements: PaymentRequirements, resource: str, description: str, mime_type: str
) -> dict[str, Any]:
    """One ``accepts`` entry of version 1; ``resource`` is an absolute URL.

    ValueError when the network has no v1 name: one unknown name makes v1 clients refuse everything.
    """
    if requirements.v1_network is None:
        raise ValueError(f"{requirements.network} has no v1 name")
    return {
        "scheme": requirements.scheme,
        "network": requirements.v1_network,
        "maxAmountRequired": str(requirements.amount),
        "resource": resource,
        "description": description,
        "mimeType": mime_type,
        "payTo": requirements.pay_to,
        "maxTimeoutSeconds": requirements.max_timeout,
        "asset": requirements.asset,
        "extra": _extra(requirements),
    }


def _extra(requirements: PaymentRequirements) -> dict[str, Any]:
    domain = {"name": requirements.name, "version": requirements.version} if requirements.name else {}
    return {**requirements.extra, **domain}


def payment_required_v2(
    requirements: Sequence[PaymentRequirements],
    resource: str,
    description: str,
    mime_type: str,
    error: str,
) -> dict[str, Any]:
    """The version 2 challenge; ``encode_header`` makes it the ``PAYMENT-REQUIRED`` value."""
    about = {"url": resource, "description": description, "mimeType": mime_type}
    return {
        "x402Version": 2,
        "error": error,
        "resource": {key: text for key, text in about.items() if text},
        "accepts": [requirement_v2(each) for each in requirements],
        "extensions": DECLARATION,
    }


def payment_required_v1(
    requirements: Sequence[PaymentRequirements],
    resource: str,
    description: str,
    mime_type: str,
    error: str,
) -> dict[str, Any]:
    """The version 1 challenge, a 402's body: only networks that have a v1 name are in it."""
    return {
        "x402Version": 1,
        "error": error,
        "accepts": [
            requirement_v1(each, resource, description, mime_type)
            for each in requirements
            if each.v1_network is not None
        ],
    }


def receipt(
    *,
    success: bool,
    network: str,
    payer: str,
    transaction: str = "",
    error_reason: str | None = None,
    extra: Mapping[str, Any] | None = None,
) -> str:
    """The receipt header's value (SettleResponse; the same object in both versions).

    ``network`` is in the credential's own naming; ``transaction`` is the hash or empty.
    """
    document: dict[str, Any] = {"success": success}
    if not success:
        document["errorReason"] = error_reason or "unexpected_settle_error"
    document |= {"payer": payer, "transaction": transaction, "network": network}
    if extra is not None:
        document["extra"] = dict(extra)
    return encode_header(document)


@dataclass(frozen=True, slots=True)
class Receipt:
    """A SettleResponse as a client reads it."""

    success: bool
    transaction: str
    network: str
    payer: str | None
    error_reason: str | None
    extra: dict[str, Any] | None


def decode_receipt(header: str) -> Receipt:
    """Read a ``PAYMENT-RESPONSE`` or ``X-PAYMENT-RESPONSE`` value; MalformedPayment if it is none."""
    fields = Fields(header_object(header))
    if not isinstance(fields.get("success"), bool):
        raise fields.wrong("success", "not a boolean")
    return Receipt(
        success=fields.get("success"),
        transaction=fields.text("transaction"),
        network=fields.text("network"),
        payer=_text_or_none(fields, "payer"),
        error_reason=_text_or_none(fields, "errorReason"),
        extra=None if fields.get("extra") is None else fields.mapping("extra"),
    )


@dataclass(frozen=True, slots=True)
class Offer:
    """One way to pay out of a server's ``accepts``; ``document`` is what the client echoes."""

    scheme: str
    network: str
    amount: int
    """Atomic units."""
    asset: str
    pay_to: str
    max_timeout: int
    """Seconds."""
    extra: dict[str, Any]
    document: dict[str, Any]


@dataclass(frozen=True, slots=True)
class PaymentRequired:
    """A server's 402 as a client reads it."""

    version: int
    error: str | None
    resource: str | None
    offers: tuple[Offer, ...]


def decode_required(source: str | bytes) -> PaymentRequired:
    """Read a challenge: a ``PAYMENT-REQUIRED`` value (str, version 2) or a 402's body (bytes, version 1).

    MalformedPayment when it is neither, or an offer lacks a field the specification requires.
    """
    version, document = (1, json_object(source)) if isinstance(source, bytes) else (2, header_object(source))
    fields = Fields(document)
    if fields.integer("x402Version") != version:
        raise fields.wrong("x402Version", f"must be {version} here")
    offers = tuple(_offer(each, version) for each in fields.objects("accepts"))
    return PaymentRequired(
        version=version,
        error=_text_or_none(fields, "error"),
        resource=_resource(fields, offers),
        offers=offers,
    )


def _offer(document: dict[str, Any], version: int) -> Offer:
    fields = Fields(document, "accepts.")
    return Offer(
        scheme=fields.text("scheme"),
        network=fields.text("network"),
        amount=fields.uint("maxAmountRequired" if version == 1 else "amount"),
        asset=fields.text("asset"),
        pay_to=fields.text("payTo"),
        max_timeout=fields.integer("maxTimeoutSeconds"),
        extra={} if fields.get("extra") is None else fields.mapping("extra"),
        document=document,
    )


def _resource(fields: Fields, offers: tuple[Offer, ...]) -> str | None:
    if isinstance(fields.get("resource"), dict):
        return _text_or_none(fields.child("resource"), "url")
    named = offers[0].document.get("resource") if offers else None
    return named if isinstance(named, str) else None


def _text_or_none(fields: Fields, key: str) -> str | None:
    return None if fields.get(key) is None else fields.text(key)

"""What other people's servers ask of a facilitator: the body of ``/verify`` and ``/settle``.

A body that is no request at all is :class:`MalformedPayment`. A request whose payment or terms are
wrong is answered like any other refusal, so that the server that asks can pass the reason on.
Source: x402 specification v1 and v2, facilitator interface.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from facilitator.base import Accepted, Refused
from facilitator.exact_evm import INVALID_SIGNATURE, check_time, verify_signature
from facilitator.strict import Fields, MalformedPayment, json_object
from facilitator.terms import INVALID_NETWORK, INVALID_REQUIREMENTS, UNSUPPORTED_SCHEME, check_signed_terms
from facilitator.wire import PaymentPayload, PaymentRequirements, read_payment

INVALID_VERSION = "invalid_x402_version"
INVALID_PAYLOAD = "invalid_payload"
NETWORK_MISMATCH = "network_mismatch"
MISSING_DOMAIN = "missing_eip712_domain"
UNKNOWN_ASSET = "invalid_exact_evm_failed_to_get_asset_info"

SCHEME = "exact"
SECONDS_TO_LIVE = 6
"""What an authorization must have left at the least, as in the SDKs; verifying asks for more."""


@dataclass(frozen=True, slots=True)
class Token:
    """A token that is settled here; ``name`` and ``version`` are its EIP-712 domain."""

    address: str
    """Checksummed."""
    name: str
    version: str


@dataclass(frozen=True, slots=True)
class Served:
    """A network that is settled on."""

    network: str
    """CAIP-2"""
    chain_id: int
    v1_network: str | None
    tokens: Mapping[str, Token] = field(default_factory=dict)
    """By lower-case address."""

    def named(self, version: int) -> str | None:
        """What a generation of x402 calls it; None where it has no name for it."""
        return self.v1_network if version == 1 else self.network


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, as far as it could be read."""

    payer: str
    """Lower-case address; empty where none is named."""
    network: str
    """In the request's own naming."""
    judged: tuple[PaymentPayload, PaymentRequirements] | Refused
    """The payment and what it is to pay, its signature checked; or why it is none."""


class Reader:
    """Reads requests for the networks it is given; no call leaves this machine."""

    def __init__(self, served: Iterable[Served]) -> None:
        self.served = tuple(served)

    def read(self, body: bytes, now: int) -> Asked:
        """MalformedPayment for a body that asks nothing; ``now`` is unix seconds."""
        fields = Fields(json_object(body))
        version = fields.integer("x402Version")
        payment, terms = fields.mapping("paymentPayload"), fields.child("paymentRequirements")
        network = terms.get("network")
        return Asked(
            _payer(payment),
            network if isinstance(network, str) else "",
            self._judge(version, payment, terms, now),
        )

    def _judge(
        self, version: int, payment: Mapping[str, Any], terms: Fields, now: int
    ) -> tuple[PaymentPayload, PaymentRequirements] | Refused:
        if version not in (1, 2):
            return Refused(INVALID_VERSION, "x402Version must be 1 or 2")
        try:
            payload = read_payment(payment, version)
        except MalformedPayment as error:
            return Refused(INVALID_PAYLOAD, error.detail)
        try:
            requirements = self._requirements(payload, terms)
        except MalformedPayment as error:
            return Refused(INVALID_REQUIREMENTS, error.detail)
        if isinstance(requirements, Refused):
            return requirements
        return _refusal(payload, requirements, terms, now) or (payload, requirements)

    def _requirements(self, payload: PaymentPayload, terms: Fields) -> PaymentRequirements | Refused:
        """The caller's terms, with the token's domain as we know it. In the order of the official SDK."""
        if payload.scheme != SCHEME or terms.text("scheme") != SCHEME:
            return Refused(UNSUPPORTED_SCHEME, f"only {SCHEME} is settled here")
        if payload.network != terms.text("network"):
            return Refused(NETWORK_MISMATCH, "the payment is for another network than the terms")
        served = self._served(payload.network, payload.version)
        if served is None:
            return Refused(INVALID_NETWORK, "this network is not served here")
        extra = terms.get("extra") or {}
        if not isinstance(extra, dict) or "name" not in extra or "version" not in extra:
            return Refused(MISSING_DOMAIN, "extra: the token's name and version")
        token = served.tokens.get(terms.address("asset"))
        if token is None:
            return Refused(UNKNOWN_ASSET, "asset: not one that is settled here")
        return PaymentRequirements(
            scheme=SCHEME,
            network=served.network,
            chain_id=served.chain_id,
            v1_network=served.v1_network,
            asset=token.address,
            amount=terms.uint("amount" if payload.version == 2 else "maxAmountRequired"),
            pay_to=terms.address("payTo"),
            max_timeout=terms.integer("maxTimeoutSeconds"),
            name=token.name,
            version=token.version,
        )

    def _served(self, network: str, version: int) -> Served | None:
        return next((each for each in self.served if each.named(version) == network), None)


def _refusal(
    payload: PaymentPayload, requirements: PaymentRequirements, terms: Fields, now: int
) -> Refused | None:
    """Signed recipient and value, time, signature: what the chain need not be asked for."""
    refused = check_signed_terms(payload, requirements) or check_time(
        payload.authorization, now, SECONDS_TO_LIVE
    )
    if refused is not None:
        return refused
    extra = terms.mapping("extra")
    if (extra["name"], extra["version"]) != (requirements.name, requirements.version):
        return Refused(INVALID_SIGNATURE, "extra: not the token's domain")
    signed = verify_signature(payload, requirements)
    return None if isinstance(signed, Accepted) else signed


def _payer(payment: Mapping[str, Any]) -> str:
    """The address a payment says it is from."""
    fields = Fields(payment)
    try:
        return fields.child("payload").child("authorization").address("from")
    except MalformedPayment:
        return ""

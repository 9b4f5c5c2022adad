"""Which of our requirements a credential answers. The client's echo is compared, never used."""

from __future__ import annotations

from collections.abc import Sequence

from facilitator.base import Refused
from facilitator.wire import Payload, PaymentPayload, PaymentRequirements

UNSUPPORTED_SCHEME = "unsupported_scheme"
INVALID_NETWORK = "invalid_network"
INVALID_REQUIREMENTS = "invalid_payment_requirements"
RECIPIENT_MISMATCH = "invalid_exact_evm_payload_recipient_mismatch"
VALUE_MISMATCH = {
    1: "invalid_exact_evm_payload_authorization_value",
    2: "invalid_exact_evm_payload_authorization_value_mismatch",
}


def match(payload: Payload, requirements: Sequence[PaymentRequirements]) -> PaymentRequirements | Refused:
    """Our copy of the terms the credential was made for, in our order of preference.

    Source: x402 v1 (scheme and network) and v2 (the echoed ``accepted``) requirement matching,
    then ``exact`` on EVM: the signed recipient and value are ours, to the unit. When no candidate
    fits, the refusal tells of the one that came nearest.
    """
    candidates = _named(payload, requirements)
    if isinstance(candidates, Refused):
        return candidates
    verdicts = [_check(payload, candidate) for candidate in candidates]
    for candidate, verdict in zip(candidates, verdicts, strict=True):
        if verdict is None:
            return candidate
    return next(
        (found for found in verdicts if found is not None and found.reason != INVALID_REQUIREMENTS),
        Refused(INVALID_REQUIREMENTS, "accepted: none of the terms offered"),
    )


def same_resource(payload: Payload, resource: str) -> bool:
    """Whether the echoed resource, if there is one, is ``resource`` (absolute URL), queries apart."""
    return payload.resource_url is None or _without_query(payload.resource_url) == _without_query(resource)


def check_signed_terms(payload: PaymentPayload, requirements: PaymentRequirements) -> Refused | None:
    """The signed recipient and value against ours (``exact`` on EVM, verification steps 5 and 6)."""
    authorization = payload.authorization
    if authorization.to != requirements.pay_to.lower():
        return Refused(RECIPIENT_MISMATCH, "authorization.to is not our payTo")
    if authorization.value != requirements.amount:
        return Refused(VALUE_MISMATCH[payload.version], f"authorization.value is not {requirements.amount}")
    return None


def _named(
    payload: Payload, requirements: Sequence[PaymentRequirements]
) -> list[PaymentRequirements] | Refused:
    schemed = [each for each in requirements if each.scheme == payload.scheme]
    if not schemed:
        return Refused(UNSUPPORTED_SCHEME)
    found = [each for each in schemed if _network(each, payload.version) == payload.network]
    return found or Refused(INVALID_NETWORK)


def _network(requirements: PaymentRequirements, version: int) -> str | None:
    return requirements.v1_network if version == 1 else requirements.network


def _check(payload: Payload, requirements: PaymentRequirements) -> Refused | None:
    if payload.version == 2 and not _echoed(payload, requirements):
        return Refused(INVALID_REQUIREMENTS)
    return check_signed_terms(payload, requirements) if isinstance(payload, PaymentPayload) else None


def _echoed(payload: Payload, requirements: PaymentRequirements) -> bool:
    """Whether the echo is ours: EVM addresses in any case, everything else as we wrote it."""
    accepted = payload.accepted or {}
    timeout = accepted.get("maxTimeoutSeconds")
    cased = str.lower if isinstance(payload, PaymentPayload) else str
    return (
        accepted.get("amount") == str(requirements.amount)
        and cased(accepted.get("asset", "")) == cased(requirements.asset)
        and cased(accepted.get("payTo", "")) == cased(requirements.pay_to)
        and type(timeout) is int
        and timeout == requirements.max_timeout
        and _extra_contained(accepted.get("extra"), requirements)
    )


def _extra_contained(extra: object, requirements: PaymentRequirements) -> bool:
    """The token's domain; what a facilitator added may be another by now."""
    if not requirements.name:
        return True
    return (
        isinstance(extra, dict)
        and extra.get("name") == requirements.name
        and extra.get("version") == requirements.version
    )


def _without_query(url: str) -> str:
    return url.partition("#")[0].partition("?")[0]

"""What other people's facilitators call their reasons, in the specification's words.

A facilitator's text goes no further than this: clients are shown one of these codes.
Source: x402 specification (error codes), the official SDKs, x402-rs, x402-connector.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from facilitator.exact_evm import INVALID_SIGNATURE, VALID_AFTER, VALID_BEFORE
from facilitator.terms import (
    INVALID_NETWORK,
    INVALID_REQUIREMENTS,
    RECIPIENT_MISMATCH,
    UNSUPPORTED_SCHEME,
    VALUE_MISMATCH,
)
from facilitator.token_abi import INSUFFICIENT_FUNDS, NO_CONTRACT, NONCE_USED, NOT_EIP3009, SIMULATION_FAILED

UNEXPECTED = "unexpected_verify_error"
INVALID_PAYLOAD = "invalid_payload"


class Kind(Enum):
    """What a reason says of a payment."""

    LASTING = auto()
    """It is not one, and never was."""
    PASSING = auto()
    """It is not good now: it may have been, or may have been used."""
    OPEN = auto()
    """Something is wrong with it; whether money moved is not said."""
    UNKNOWN = auto()
    """A word nobody knows."""
    FAULT = auto()
    """The facilitator itself failed."""


@dataclass(frozen=True, slots=True)
class Reason:
    """A facilitator's reason: ``code`` is what clients are told."""

    code: str
    kind: Kind


_EVM = {
    INVALID_SIGNATURE: Kind.LASTING,
    RECIPIENT_MISMATCH: Kind.LASTING,
    VALUE_MISMATCH[1]: Kind.LASTING,
    VALUE_MISMATCH[2]: Kind.LASTING,
    VALID_AFTER: Kind.PASSING,
    VALID_BEFORE: Kind.PASSING,
    NONCE_USED: Kind.OPEN,
    SIMULATION_FAILED: Kind.OPEN,
    NO_CONTRACT: Kind.OPEN,
    NOT_EIP3009: Kind.OPEN,
}
_ANY = {
    INVALID_NETWORK: Kind.LASTING,
    INVALID_PAYLOAD: Kind.LASTING,
    INVALID_REQUIREMENTS: Kind.LASTING,
    UNSUPPORTED_SCHEME: Kind.LASTING,
    "invalid_scheme": Kind.LASTING,
    "invalid_x402_version": Kind.LASTING,
    "fee_payer_not_managed_by_facilitator": Kind.LASTING,
    INSUFFICIENT_FUNDS: Kind.PASSING,
    "invalid_transaction_state": Kind.OPEN,
    "transaction_failed": Kind.OPEN,
    "transaction_simulation_failed": Kind.OPEN,
    "duplicate_settlement": Kind.OPEN,
    "settlement_pending": Kind.OPEN,
    "unexpected_verify_error": Kind.FAULT,
    "unexpected_settle_error": Kind.FAULT,
}
_ALIASES = {
    # The official SDKs.
    "invalid_exact_evm_insufficient_balance": INSUFFICIENT_FUNDS,
    "invalid_exact_evm_payload_undeployed_smart_wallet": INVALID_SIGNATURE,
    "invalid_exact_evm_token_name_mismatch": INVALID_REQUIREMENTS,
    "invalid_exact_evm_token_version_mismatch": INVALID_REQUIREMENTS,
    "missing_eip712_domain": INVALID_REQUIREMENTS,
    "network_mismatch": INVALID_NETWORK,
    # x402-rs.
    "invalid_format": INVALID_PAYLOAD,
    "invalid_payment_amount": VALUE_MISMATCH[2],
    "invalid_payment_early": VALID_AFTER,
    "invalid_payment_expired": VALID_BEFORE,
    "chain_id_mismatch": INVALID_NETWORK,
    "unsupported_chain": INVALID_NETWORK,
    "recipient_mismatch": RECIPIENT_MISMATCH,
    "asset_mismatch": INVALID_REQUIREMENTS,
    "accepted_requirements_mismatch": INVALID_REQUIREMENTS,
    "invalid_signature": INVALID_SIGNATURE,
    "transaction_simulation": SIMULATION_FAILED,
    "unexpected_error": UNEXPECTED,
    # x402-connector.
    "amount_mismatch": VALUE_MISMATCH[2],
    "payment_not_yet_valid": VALID_AFTER,
    "payment_expired": VALID_BEFORE,
    "nonce_already_used": NONCE_USED,
    "insufficient_balance": INSUFFICIENT_FUNDS,
    "facilitator_error": UNEXPECTED,
    "facilitator_timeout": UNEXPECTED,
    "facilitator_auth_error": UNEXPECTED,
}
_SHAPE = "invalid_exact_"
"""With ``_payload`` in it: what is wrong with a payload of some other scheme's or network's."""


def read_reason(said: object, version: int, *, evm: bool) -> Reason:
    """A reason as a facilitator gave it, for a payment of this version on EVM or elsewhere.

    What is no text at all is as good as a word nobody knows.
    """
    word = said.partition(":")[0].strip().lower() if isinstance(said, str) else ""
    word = _ALIASES.get(word, word)
    if word in _ANY:
        return Reason(word, _ANY[word])
    if word in _EVM and evm:
        return Reason(VALUE_MISMATCH[version] if word in VALUE_MISMATCH.values() else word, _EVM[word])
    if word in _EVM or (not evm and word.startswith(_SHAPE) and "_payload" in word):
        return Reason(INVALID_PAYLOAD, _EVM.get(word, Kind.LASTING))
    return Reason(UNEXPECTED, Kind.UNKNOWN)

"""What is sent to a facilitator, and what may be believed of its answers. Pure.

Source: x402 specification v1 and v2, facilitator interface. In the wild business answers
come with 200, 400, 412 and 500, so it is the body that is read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import orjson

from facilitator.base import Accepted, Due, Refused
from facilitator.challenge import requirement_v1, requirement_v2
from facilitator.checksum import checksummed
from facilitator.endpoint import Reply
from facilitator.reasons import Kind, Reason, read_reason
from facilitator.wire import OpaquePayload, Payload, PaymentPayload, PaymentRequirements, payment_document

_EVM_TRANSACTION = re.compile(r"0x[0-9a-fA-F]{64}")
_TRANSACTION = re.compile(r"[!-~]{1,128}")
_DOORKEEPERS = frozenset({401, 403, 404, 408, 429})
"""Statuses that say nothing of a payment, unless their body does so in known words."""


@dataclass(frozen=True, slots=True)
class Paid:
    """It says that the money moved, and nothing in its answer is against it."""

    transaction: str


@dataclass(frozen=True, slots=True)
class Declined:
    """It says that nothing moved, and why."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class Unclear:
    """Anything else: only evidence tells."""

    transaction: str = ""
    """Where it named one that could be one."""
    doubtful: bool = False
    """It says that the money moved, but not ours."""


def request_body(payload: Payload, requirements: PaymentRequirements, resource: str) -> bytes:
    """The body of /verify and /settle, in the payload's own version: our requirements, its payment.

    An opaque payment goes in as the very bytes its client wrote. Addresses of others have their checksums:
    without, the official Python facilitator takes no payment (web3.py would not). ``resource`` is the
    absolute URL that version 1 wants in its requirements.
    """
    if payload.version == 1:
        terms = requirement_v1(requirements, resource, "", "application/json")
    else:
        terms = requirement_v2(requirements)
    payment = payload.raw if isinstance(payload, OpaquePayload) else orjson.dumps(_document(payload))
    head = b'{"x402Version":%d,"paymentPayload":' % payload.version
    return head + payment + b',"paymentRequirements":' + orjson.dumps(terms) + b"}"


def _document(payload: PaymentPayload) -> dict[str, Any]:
    document = payment_document(payload)
    authorization = document["payload"]["authorization"]
    for name in ("from", "to"):
        authorization[name] = checksummed(authorization[name])
    return document


def read_verdict(payload: Payload, reply: Reply) -> Accepted | Refused | None:
    """What an answer to /verify says; None where it says nothing of the payment."""
    valid = reply.document.get("isValid")
    if valid is True:
        return Accepted() if reply.fine and _same_payer(reply.document, payload) else None
    if valid is not False and (valid is not None or reply.status < 400):
        return None
    said = reply.document.get("invalidReason") or reply.document.get("errorReason")
    reason = read_reason(said, payload.version, evm=isinstance(payload, PaymentPayload))
    judged = valid is False and reply.status < 500 and reply.status not in _DOORKEEPERS
    if reason.kind is Kind.FAULT or (reason.kind is Kind.UNKNOWN and not judged):
        return None
    return Refused(reason.code)


def read_settlement(due: Due, reply: Reply) -> Paid | Declined | Unclear | None:
    """What an answer to /settle says; None where it says nothing of the payment."""
    document = reply.document
    if type(document.get("success")) is not bool:
        return None
    transaction = _transaction(document.get("transaction"), due.payload)
    if document.get("success") is True:
        if reply.fine and transaction and _ours(document, due):
            return Paid(transaction)
        return Unclear(transaction, doubtful=True)
    if not document.get("transaction"):
        evm = isinstance(due.payload, PaymentPayload)
        reason = read_reason(document.get("errorReason"), due.payload.version, evm=evm)
        if reason.kind in (Kind.LASTING, Kind.PASSING):
            return Declined(reason)
    return Unclear(transaction)


def _ours(document: Any, due: Due) -> bool:
    """Whether a claimed success is about this payment: its network, payer and amount."""
    terms = due.requirements
    network, amount = document.get("network"), document.get("amount")
    return (
        isinstance(network, str)
        and network in (terms.network, terms.v1_network)
        and _same_payer(document, due.payload)
        and (amount is None or amount == str(terms.amount))
    )


def _same_payer(document: Any, payload: Payload) -> bool:
    """Who pays an opaque payment we cannot tell."""
    payer = document.get("payer")
    if payer is None or isinstance(payload, OpaquePayload):
        return True
    return isinstance(payer, str) and payer.lower() == payload.authorization.sender


def _transaction(said: object, payload: Payload) -> str:
    """A transaction's name as the chain has it, or nothing."""
    shape = _TRANSACTION if isinstance(payload, OpaquePayload) else _EVM_TRANSACTION
    if not isinstance(said, str) or not shape.fullmatch(said):
        return ""
    return said if isinstance(payload, OpaquePayload) else said.lower()

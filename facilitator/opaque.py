"""Which payment a payload is that nobody here can read: known by what was signed, however it is written.

On Solana that is the transaction's message. What is around it (signatures to be filled in, other
members, base64) can be changed by anybody, and it would still be the same transaction: Solana's
wire format is a compact-u16 count of signatures, 64 bytes for each, and the message.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Any

import orjson

from facilitator.strict import MalformedPayment
from facilitator.wire import OpaquePayload

_SIGNATURE = 64
"""Bytes."""


def signed_digest(payload: OpaquePayload) -> str:
    """Hex SHA-256 of what was signed; MalformedPayment where it must be there and is not."""
    signed = orjson.loads(payload.raw)["payload"]
    if payload.network.startswith("solana:") and payload.scheme == "exact":
        return hashlib.sha256(_message(signed)).hexdigest()
    return hashlib.sha256(orjson.dumps(signed, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _message(signed: Any) -> bytes:
    """The part of a Solana transaction that its signatures are about."""
    written = signed.get("transaction") if isinstance(signed, dict) else None
    try:
        transaction = base64.b64decode(written, validate=True) if isinstance(written, str) else b""
    except (binascii.Error, ValueError) as error:
        raise MalformedPayment("payload.transaction: not base64") from error
    count, start = _compact(transaction)
    message = transaction[start + count * _SIGNATURE :]
    if not count or not message:
        raise MalformedPayment("payload.transaction: not a signed transaction")
    return message


def _compact(data: bytes) -> tuple[int, int]:
    """A compact-u16 and where it ends: seven bits a byte, the lowest first, at most three bytes."""
    value = 0
    for index, byte in enumerate(data[:3]):
        value |= (byte & 0x7F) << (7 * index)
        if not byte & 0x80:
            return value, index + 1
    return 0, 0

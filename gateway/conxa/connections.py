"""Connections: what a client presents to pay from a CONXA wallet.

A connection's id is a bearer secret that says by itself when it was made, for how long its QR code
may be scanned and with what limit, under a MAC: strangers can ask for as many as they like, and nothing
is kept of one until a wallet has been connected by it. What is kept then goes by the id's hash.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import re
import secrets
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass

_PREFIX = "cx_"
_BODY = struct.Struct(">16sIIHd")
"""Randomness, made at, may be scanned for, picture size, limit (NaN: none)."""
_MAC = 16
_SHAPE = re.compile(rf"{_PREFIX}[A-Za-z0-9_-]{{{-(-(_BODY.size + _MAC) * 8 // 6)}}}\Z")
_NAMED = 20
"""Hex digits by which the wallet and the log name a connection."""


@dataclass(frozen=True, slots=True)
class Connection:
    """One connection; times are unix seconds."""

    id: str
    """The secret: never logged."""
    created_at: int
    expires_at: int
    """When the QR code ends; a wallet that is connected by then stays so."""
    size: int
    """Of its picture, pixels."""
    limit: float | None
    """Most the wallet is to spend by it, in the wallet's tokens."""

    @property
    def hash(self) -> str:
        """What is kept of the id."""
        return hashed(self.id)

    @property
    def username(self) -> str:
        """The ``provider_username``: made of the hash, so that nobody can choose somebody else's."""
        return "tollway-" + self.hash[:_NAMED]


def hashed(secret: str) -> str:
    """The name of a bearer secret in the store (hex SHA-256)."""
    return hashlib.sha256(secret.encode()).hexdigest()


def is_id(text: str) -> bool:
    """Whether a text has the shape of a connection's id."""
    return _SHAPE.match(text) is not None


class Mint:
    """Makes connection ids and recognises them, in every process that has the same API key."""

    def __init__(self, api_key: str) -> None:
        self._key = hmac.digest(api_key.encode(), b"tollway connection ids", "sha256")

    def make(self, now: int, *, lifetime: int, size: int, limit: float | None) -> Connection:
        """A new connection; ``lifetime`` in seconds."""
        body = _BODY.pack(secrets.token_bytes(16), now, lifetime, size, math.nan if limit is None else limit)
        text = urlsafe_b64encode(body + self._mac(body)).decode().rstrip("=")
        return Connection(_PREFIX + text, now, now + lifetime, size, limit)

    def read(self, text: str) -> Connection | None:
        """The connection an id is of; None for what was not made here."""
        if not is_id(text):
            return None
        encoded = text[len(_PREFIX) :]
        raw = urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
        body, mac = raw[: _BODY.size], raw[_BODY.size :]
        again = urlsafe_b64encode(raw).decode().rstrip("=")
        if again != encoded or not hmac.compare_digest(mac, self._mac(body)):
            return None
        _, made_at, lifetime, size, limit = _BODY.unpack(body)
        return Connection(text, made_at, made_at + lifetime, size, None if math.isnan(limit) else limit)

    def _mac(self, body: bytes) -> bytes:
        return hmac.digest(self._key, body, "sha256")[:_MAC]

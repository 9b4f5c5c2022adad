"""Header rules in both directions: pure functions over raw ``(name, value)`` byte pairs.

Names are compared lower-case. RFC 9110 section 7.6.1 (hop-by-hop), RFC 9111 (caching),
INTERFACE section 3 for the rest.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import lru_cache

from gateway.errors import ClientError

Field = tuple[bytes, bytes]

CREDENTIALS = {
    b"payment-signature": "PAYMENT-SIGNATURE",
    b"x-payment": "X-PAYMENT",
    b"x-tollway-connection": "X-Tollway-Connection",
    b"x-provider-session": "X-Provider-Session",
}
"""Every header that can carry a payment: the wire name by lower-case name."""

EXPOSED = (
    b"PAYMENT-REQUIRED, PAYMENT-RESPONSE, X-PAYMENT-RESPONSE, Idempotent-Replayed, Retry-After, X-Request-Id"
)
ALLOWED = (
    b"PAYMENT-SIGNATURE, X-PAYMENT, X-Tollway-Connection, X-Provider-Session, Idempotency-Key, "
    b"Content-Type, Authorization, Access-Control-Expose-Headers"
)

MAX_KEY = 255
"""Bytes of an ``Idempotency-Key``: it is kept with the payment."""

_HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
_NONE: frozenset[bytes] = frozenset()
_OPTIONS = frozenset({b"close", b"keep-alive", b"upgrade"})
"""What ``Connection`` says that names no further field: those fields are dropped anyway."""
_FRAMING = frozenset({b"content-length", b"host", b"expect"})
_RECEIPTS = frozenset(
    {
        *(b"payment-required", b"payment-response", b"x-payment-response", b"settlement-overrides"),
        *(b"x-conxa-tokens", b"x-conxa-balance", b"x-conxa-estimated"),
    }
)
_NEVER_UPSTREAM = (
    _HOP_BY_HOP
    | _FRAMING
    | _RECEIPTS
    | CREDENTIALS.keys()
    | {
        b"sign-in-with-x",
        b"payment-retry",
        b"access-control-expose-headers",
        b"x-method-override",
        b"x-override-url",
        b"destination",
        b"forwarded",
        b"x-real-ip",
        b"true-client-ip",
        b"x-request-id",
    }
)
_NEVER_UPSTREAM_PREFIXES = (
    b"payment-",
    b"x-payment",
    b"x-http-method",
    b"x-original-",
    b"x-rewrite-",
    b"x-accel-",
    b"x-tollway-",
)
_SHARED_CACHE = frozenset({b"cdn-cache-control", b"surrogate-control"})
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")
_DIRECTIVE = re.compile(rb'(?:[^,"]|"(?:[^"\\]|\\.)*")+')
_BAD_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


def nominated(fields: Iterable[Field]) -> frozenset[bytes]:
    """The names that ``Connection`` declares hop-by-hop."""
    said = [value for name, value in fields if len(name) == 10 and name.lower() == b"connection"]
    if not said:
        return _NONE
    return frozenset(token.strip().lower() for token in b",".join(said).split(b",")) - _OPTIONS


def for_upstream(fields: Sequence[Field], *, trusted: bool = False) -> list[Field]:
    """What of a client's header goes on: no hop-by-hop, credential, rewrite or identity field.

    A ``trusted`` peer's ``X-Forwarded-*`` fields go on, too.
    """
    judge = _goes_on_if_trusted if trusted else _goes_on
    return _kept(fields, judge)


def from_upstream(fields: Sequence[Field]) -> list[Field]:
    """What of an upstream's header goes back: no hop-by-hop, framing or forged receipt field."""
    return _kept(fields, _goes_back)


def _kept(fields: Sequence[Field], judge: Callable[[bytes], bool]) -> list[Field]:
    kept = [field for field in fields if judge(field[0])]
    dropped = nominated(fields)
    return [field for field in kept if field[0].lower() not in dropped] if dropped else kept


def _remembered(judge: Callable[[bytes], bool]) -> Callable[[bytes], bool]:
    """The same few names come again and again; what a stranger makes up must not fill memory."""
    known = lru_cache(maxsize=4096)(judge)
    return lambda name: known(name) if len(name) <= 64 else judge(name)


@_remembered
def _goes_on_if_trusted(name: bytes) -> bool:
    low = name.lower()
    return not (low in _NEVER_UPSTREAM or b"_" in low or low.startswith(_NEVER_UPSTREAM_PREFIXES))


@_remembered
def _goes_on(name: bytes) -> bool:
    return _goes_on_if_trusted(name) and not name.lower().startswith(b"x-forwarded-")


@_remembered
def _goes_back(name: bytes) -> bool:
    low = name.lower()
    framing = low in _HOP_BY_HOP or low == b"content-length"
    return not (framing or low in _RECEIPTS or low.startswith((b"payment-", b"x-payment-")))


def emittable(fields: Iterable[Field]) -> bool:
    """Whether every field can be written to a client as it is (RFC 9110 section 5.5)."""
    return all(_NAME.match(name) and not _BAD_VALUE.search(value) for name, value in fields)


def private(fields: Iterable[Field]) -> list[Field]:
    """A paid answer's fields, made unusable for shared caches (RFC 9111 section 5.2.2)."""
    kept: list[Field] = []
    directives: list[bytes] = [b"private"]
    for name, value in fields:
        low = name.lower()
        if low == b"cache-control":
            directives += _kept_directives(value)
        elif low not in _SHARED_CACHE:
            kept.append((name, value))
    kept.append((b"Cache-Control", b", ".join(directives)))
    kept.append((b"Vary", b"PAYMENT-SIGNATURE, X-PAYMENT"))
    return kept


def _kept_directives(value: bytes) -> list[bytes]:
    directives = (part.strip() for part in _DIRECTIVE.findall(value))
    dropped = (b"public", b"private", b"s-maxage")
    return [part for part in directives if part and not part.lower().startswith(dropped)]


def credential(fields: Iterable[Field], accepted: Collection[str]) -> tuple[str, str] | None:
    """The one payment credential of a request among ``accepted`` header names.

    ClientError 400 when there is more than one, or one twice: which would be verified, which settled?
    """
    found = [
        (CREDENTIALS[low], value)
        for name, value in fields
        if (low := name.lower()) in CREDENTIALS and CREDENTIALS[low] in accepted
    ]
    if len(found) > 1:
        raise ClientError("malformed_payment", "send exactly one payment credential, once")
    if not found:
        return None
    name, value = found[0]
    return name, value.decode("latin-1")


def carries_credential(fields: Iterable[Field]) -> bool:
    """Whether there is any payment credential, of whatever rail."""
    return any(name.lower() in CREDENTIALS for name, _ in fields)


def idempotency_key(fields: Iterable[Field]) -> str | None:
    """The client's ``Idempotency-Key``; ClientError 400 for two of them, or one too long to be kept."""
    keys = values(fields, b"idempotency-key")
    if len(keys) > 1 or any(len(key) > MAX_KEY for key in keys):
        raise ClientError("bad_idempotency_key", f"send one Idempotency-Key of at most {MAX_KEY} bytes")
    return keys[0].decode("latin-1") if keys else None


def accept_encoding(fields: Iterable[Field]) -> bytes | None:
    """The content codings the client takes (RFC 9110 section 12.5.3), as one list."""
    found = values(fields, b"accept-encoding")
    return b", ".join(found) if found else None


def values(fields: Iterable[Field], name: bytes) -> list[bytes]:
    """Every value of one field, in order."""
    return [value for field, value in fields if field.lower() == name]


def cors(origins: Sequence[str] | str, origin: str | None) -> list[Field]:
    """What every answer of a priced route carries for browsers; never with credentials."""
    allowed = _allowed_origin(origins, origin)
    if allowed is None:
        return []
    fields = [(b"Access-Control-Allow-Origin", allowed), (b"Access-Control-Expose-Headers", EXPOSED)]
    if allowed != b"*":
        fields.append((b"Vary", b"Origin"))
    return fields


def _allowed_origin(origins: Sequence[str] | str, origin: str | None) -> bytes | None:
    if origins == "*" or "*" in origins:
        return b"*"
    if origin is not None and origin in origins:
        return origin.encode("latin-1")
    return None


def without_cors(fields: Iterable[Field]) -> list[Field]:
    """The fields without the upstream's own CORS answer, which ours replaces."""
    replaced = (
        b"access-control-allow-origin",
        b"access-control-expose-headers",
        b"access-control-allow-credentials",
    )
    return [field for field in fields if field[0].lower() not in replaced]

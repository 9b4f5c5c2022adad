"""CONXA's HTTP interface: session status, charge, health. What it answers becomes values here.

Shapes and meanings as the official SDK 1.3.4 sends and reads them. Whatever says neither yes nor no
about a charge is ``Unclear``: it is asked again with the same key and the same numbers.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

import orjson

from facilitator.http1.client import Client
from facilitator.http1.errors import HttpError
from facilitator.http1.request import Field

_MOST = 64 * 1024
"""Bytes of an answer that are read."""
INSUFFICIENT_BALANCE = "INSUFFICIENT_BALANCE"
HARD_CAP_VIOLATION = "HARD_CAP_VIOLATION"
NO_CHARGE_PERMISSION = "NO_CHARGE_PERMISSION"
INVALID_CHARGE = "INVALID_CHARGE"


class Status(StrEnum):
    """Where a session stands."""

    PENDING = "pending"
    ACTIVE = "active"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Session:
    """A user's session with this provider; ``expires_at`` is unix seconds."""

    status: Status
    token: str = ""
    expires_at: float | None = None


@dataclass(frozen=True, slots=True)
class Approved:
    """The wallet was charged."""

    balance: int


@dataclass(frozen=True, slots=True)
class Declined:
    """The wallet was not charged, and will not be by this key."""

    code: str
    balance: int | None


@dataclass(frozen=True, slots=True)
class Unauthorized:
    """The session is over, or the API key is not accepted; nothing was charged by this call."""


@dataclass(frozen=True, slots=True)
class Unclear:
    """The wallet may or may not have been charged. ``retry_after`` in seconds, where it was said."""

    reason: str
    retry_after: float | None = None


ChargeReply = Approved | Declined | Unauthorized | Unclear


class ConxaUnavailable(Exception):
    """A session could not be asked about. ``retry_after`` in seconds, where it was said."""

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class RateLimited(ConxaUnavailable):
    """Asked too often."""


class KeyRefused(ConxaUnavailable):
    """The provider's API key is not accepted: the operator's to mend."""

    def __init__(self) -> None:
        super().__init__("conxa does not accept rails.conxa.api_key")


@dataclass(frozen=True, slots=True)
class _Reply:
    status: int
    body: dict[str, Any] | None
    """None: no JSON object."""
    retry_after: float | None


class Conxa:
    """One provider's access to CONXA."""

    def __init__(self, client: Client, base_url: str, api_key: str, timeout: float) -> None:
        """``timeout`` in seconds."""
        self._client = client
        self._base_url = base_url
        self._key = {"X-Provider-API-Key": api_key, "Accept": "application/json"}
        self._timeout = timeout

    async def session(self, username: str) -> Session:
        """Where a user's session stands; ConxaUnavailable when that is not told."""
        try:
            query = urlencode({"provider_username": username})
            reply = await self._ask("GET", "/providers/session/status", self._key, query=query)
        except HttpError as error:
            raise ConxaUnavailable("conxa does not answer") from error
        if reply.status == HTTPStatus.NOT_FOUND:
            return Session(Status.PENDING)
        if reply.status == HTTPStatus.UNAUTHORIZED:
            raise KeyRefused
        if reply.status == HTTPStatus.TOO_MANY_REQUESTS:
            raise RateLimited("conxa is asked too often", reply.retry_after)
        if reply.status != HTTPStatus.OK or reply.body is None:
            raise ConxaUnavailable(f"conxa answered {reply.status}", reply.retry_after)
        return _session(reply.body)

    async def charge(
        self, token: str, key: str, model: str, input_tokens: int, output_tokens: int
    ) -> ChargeReply:
        """Charge a wallet; the same ``key`` with the same numbers charges it once."""
        body = {"model_name": model, "input_tokens": input_tokens, "output_tokens": output_tokens}
        headers = self._key | {
            "Content-Type": "application/json",
            "X-Provider-Session": token,
            "X-Idempotency-Key": key,
        }
        try:
            reply = await self._ask("POST", "/charge/authorize", headers, orjson.dumps(body))
        except HttpError:
            return Unclear("conxa does not answer")
        return _charged(reply)

    async def healthy(self) -> bool:
        """Whether CONXA says that it works: ``status`` is exactly ``ok``."""
        try:
            reply = await self._ask("GET", "/health", self._key)
        except HttpError:
            return False
        return reply.status == HTTPStatus.OK and reply.body is not None and reply.body.get("status") == "ok"

    async def _ask(
        self, method: str, path: str, headers: dict[str, str], body: bytes | None = None, query: str = ""
    ) -> _Reply:
        until = asyncio.get_running_loop().time() + self._timeout
        url = self._base_url + path
        answer = await self._client.fetch(method, url, body, headers, until=until, most=_MOST, query=query)
        return _Reply(answer.status, _object(answer.content), _retry_after(answer.fields))


def _object(content: bytes) -> dict[str, Any] | None:
    try:
        body = orjson.loads(content)
    except orjson.JSONDecodeError:
        return None
    return body if isinstance(body, dict) else None


def _session(body: dict[str, Any]) -> Session:
    """``not_found`` and what is no known status mean that nobody has scanned the code yet."""
    status, token = body.get("status"), body.get("session_token")
    if status == Status.EXPIRED:
        return Session(Status.EXPIRED)
    if status != Status.ACTIVE or not isinstance(token, str) or not _sendable(token):
        return Session(Status.PENDING)
    expires_at = _time(body.get("expires_at"))
    if expires_at is not None and expires_at <= time.time():
        return Session(Status.EXPIRED)
    return Session(Status.ACTIVE, token, expires_at)


def _sendable(token: str) -> bool:
    return 0 < len(token) <= 4096 and token.isascii() and token.isprintable()


def _charged(reply: _Reply) -> ChargeReply:
    body = reply.body
    if reply.status // 100 == 2 and body is not None and isinstance(body.get("approved"), bool):
        if body["approved"]:
            return Approved(_balance(body) or 0)
        return Declined(_code(body.get("error_code"), "CHARGE_REFUSED"), _balance(body))
    told = {} if body is None else body
    if reply.status == HTTPStatus.PAYMENT_REQUIRED:
        return Declined(_code(told.get("code"), INSUFFICIENT_BALANCE), _balance(told))
    if reply.status == HTTPStatus.FORBIDDEN:
        return Declined(_code(told.get("code"), NO_CHARGE_PERMISSION), _balance(told))
    if reply.status == HTTPStatus.UNPROCESSABLE_ENTITY:
        return Declined(INVALID_CHARGE, None)
    if reply.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.NOT_FOUND):
        return Unauthorized()
    return Unclear(f"conxa answered {reply.status}", reply.retry_after)


def _code(value: object, otherwise: str) -> str:
    return value if isinstance(value, str) and value.isidentifier() and len(value) <= 64 else otherwise


def _balance(body: dict[str, Any]) -> int | None:
    value = body.get("new_balance")
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _time(value: object) -> float | None:
    if not isinstance(value, str):
        return None
    try:
        parsed = datetime.fromisoformat(value)
    except ValueError:
        return None
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()


def _retry_after(fields: Sequence[Field]) -> float | None:
    """Seconds, or the time until a date (RFC 9110 section 10.2.3); never negative."""
    value = next((value.decode("latin-1") for name, value in fields if name.lower() == b"retry-after"), "")
    if value.isascii() and value.isdigit() and len(value) < 10:
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None

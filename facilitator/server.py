"""A facilitator served to others over HTTP: ``/verify``, ``/settle``, ``/supported`` and ``/health``.

Business refusals are 200 with a reason, as the official clients want them; a body that is no request
is 400. What needs no chain is checked before anything else is asked. Source: x402 specification,
facilitator interface, v1 and v2.
"""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Protocol

import orjson
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from facilitator.asked import SCHEME, Asked, Reader
from facilitator.base import (
    Accepted,
    Facilitator,
    Purse,
    Refused,
    Settled,
    Settlement,
    VerificationUnavailable,
)
from facilitator.strict import MalformedPayment
from facilitator.wire import PaymentPayload, PaymentRequirements

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_OPEN = frozenset({"/health"})


class Settlements(Protocol):
    """What must be remembered between requests, processes and restarts.

    Both raise VerificationUnavailable where that cannot be told.
    """

    async def purse(self, payload: PaymentPayload, requirements: PaymentRequirements) -> Purse | Refused:
        """What else the payer has promised; Refused for an authorization that is spoken for itself."""

    async def settle_once(self, payload: PaymentPayload, requirements: PaymentRequirements) -> Settlement:
        """Move the money, at most once ever: who asks again gets the first outcome, and waits for it."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one request may take; bytes and seconds."""

    max_body: int = 64 * 1024
    body_timeout: float = 10.0
    verify_timeout: float = 10.0


class Service:
    """Answers requests of aiohttp's low-level server."""

    def __init__(
        self,
        reader: Reader,
        facilitator: Facilitator,
        settlements: Settlements,
        *,
        keys: Sequence[str],
        health: Callable[[], Mapping[str, bool]],
        bounds: Bounds | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``keys`` are bearer tokens, any of which opens all but ``/health``; none: everybody may ask.

        ``health`` names what this depends on and whether it is there.
        """
        self._reader = reader
        self._facilitator = facilitator
        self._settlements = settlements
        self._keys = [f"Bearer {key}".encode() for key in keys]
        self._health = health
        self._bounds = bounds or Bounds()
        self._clock = clock
        self._resources: dict[str, tuple[str, Callable[[web.BaseRequest], Awaitable[web.Response]]]] = {
            "/verify": ("POST", self._verify),
            "/settle": ("POST", self._settle),
            "/supported": ("GET", self._supported),
            "/health": ("GET", self._healthy),
        }

    async def __call__(self, request: web.BaseRequest) -> web.Response:
        """One request, one answer."""
        try:
            return await self._answer(request)
        except _Stop as stop:
            return problem(stop.status, stop.code, stop.detail, stop.headers)
        except MalformedPayment as error:
            return problem(400, "bad_request", error.detail)
        except VerificationUnavailable:
            # The reason may name an RPC provider: it is not for strangers.
            detail = "the payment cannot be looked after right now; ask again"
            return problem(503, "verification_unavailable", detail, {"Retry-After": "1"})

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        if request.path not in self._resources:
            raise _Stop(404, "no_route", "served here: /verify, /settle, /supported, /health")
        method, handler = self._resources[request.path]
        if request.method != method:
            raise _Stop(405, "method_not_allowed", f"ask with {method}", {"Allow": method})
        if request.path not in _OPEN:
            self._authorize(request)
        return await handler(request)

    def _authorize(self, request: web.BaseRequest) -> None:
        presented = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
        found = [hmac.compare_digest(presented, key) for key in self._keys]
        if self._keys and not any(found):
            challenge = {"WWW-Authenticate": "Bearer"}
            raise _Stop(401, "unauthorized", "give one of facilitator.keys as a bearer token", challenge)

    async def _verify(self, request: web.BaseRequest) -> web.Response:
        asked = await self._read(request)
        verdict = await self._judge(asked)
        if isinstance(verdict, Refused):
            return _json(
                {
                    "isValid": False,
                    "invalidReason": verdict.reason,
                    "invalidMessage": verdict.detail,
                    "payer": asked.payer,
                }
            )
        return _json({"isValid": True, "payer": asked.payer})

    async def _judge(self, asked: Asked) -> Accepted | Refused:
        if isinstance(asked.judged, Refused):
            return asked.judged
        payload, requirements = asked.judged
        self._require(requirements.network)
        try:
            async with asyncio.timeout(self._bounds.verify_timeout):
                purse = await self._settlements.purse(payload, requirements)
                if isinstance(purse, Refused):
                    return purse
                return await self._facilitator.verify(payload, requirements, purse)
        except TimeoutError as error:
            raise VerificationUnavailable("verifying took too long") from error

    async def _settle(self, request: web.BaseRequest) -> web.Response:
        asked = await self._read(request)
        if isinstance(asked.judged, Refused):
            return _settled(asked, asked.judged)
        payload, requirements = asked.judged
        outcome = await self._settlements.settle_once(payload, requirements)
        return _settled(asked, outcome, requirements.amount)

    def _require(self, network: str) -> None:
        """No work must be begun that could not be settled."""
        if not self._facilitator.ready(network):
            raise VerificationUnavailable(f"{network}: no settlement key has gas")

    async def _supported(self, request: web.BaseRequest) -> web.Response:
        kinds = [
            {"x402Version": version, "scheme": SCHEME, "network": name, **self._extra(served.network)}
            for version in (2, 1)
            for served in self._reader.served
            if (name := served.named(version)) is not None
        ]
        signers = sorted({sender.rpartition(":")[2] for sender in self._facilitator.senders()})
        return _json({"kinds": kinds, "extensions": [], "signers": {"eip155:*": signers}})

    def _extra(self, network: str) -> dict[str, Any]:
        extra = self._facilitator.extra(network, SCHEME)
        return {"extra": dict(extra)} if extra else {}

    async def _healthy(self, request: web.BaseRequest) -> web.Response:
        there = dict(self._health())
        told = {name: "up" if up else "down" for name, up in there.items()}
        well = all(there.values())
        return _json({"status": "ok" if well else "degraded", "dependencies": told}, 200 if well else 503)

    async def _read(self, request: web.BaseRequest) -> Asked:
        if (request.content_length or 0) > self._bounds.max_body:
            raise self._too_large()
        if request.headers.get("Expect", "").lower() == "100-continue" and request.transport is not None:
            request.transport.write(_CONTINUE)
        try:
            async with asyncio.timeout(self._bounds.body_timeout):
                body = await self._body(request)
        except TimeoutError as error:
            raise _Stop(408, "body_timeout", "the body came too slowly", _CLOSE) from error
        except (ConnectionError, web.RequestPayloadError, HttpProcessingError) as error:
            raise _Stop(400, "bad_request", "the body ended early or is malformed", _CLOSE) from error
        return self._reader.read(body, int(self._clock()))

    async def _body(self, request: web.BaseRequest) -> bytes:
        body = bytearray()
        while chunk := await request.content.readany():
            body += chunk
            if len(body) > self._bounds.max_body:
                raise self._too_large()
        return bytes(body)

    def _too_large(self) -> _Stop:
        return _Stop(413, "body_too_large", f"a request has at most {self._bounds.max_body} bytes", _CLOSE)


_CLOSE = {"Connection": "close"}


class _Stop(Exception):
    """Ends a request that asks nothing, or nothing that may be answered."""

    def __init__(self, status: int, code: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = headers or {}


def problem(status: int, code: str, detail: str, headers: Mapping[str, str] | None = None) -> web.Response:
    """The RFC 9457 object; never a stack trace, path or secret."""
    about = {"title": HTTPStatus(status).phrase, "status": status, "code": code, "detail": detail}
    answer = web.Response(
        body=orjson.dumps({"type": f"urn:tollway:problem:{code}", **about}),
        status=status,
        content_type="application/problem+json",
        headers=headers,
    )
    if headers is _CLOSE:
        answer.force_close()
    return answer


def _settled(asked: Asked, outcome: Settlement, amount: int | None = None) -> web.Response:
    """SettleResponse; ``transaction`` is empty unless one was sent."""
    document: dict[str, Any] = {"success": isinstance(outcome, Settled)}
    if not isinstance(outcome, Settled):
        document["errorReason"] = outcome.reason
    if isinstance(outcome, Refused):
        document["errorMessage"] = outcome.detail
    transaction = "" if isinstance(outcome, Refused) else outcome.transaction
    document |= {"payer": asked.payer, "transaction": transaction, "network": asked.network}
    if isinstance(outcome, Settled):
        document["amount"] = str(amount)
    return _json(document)


def _json(document: Mapping[str, Any], status: int = 200) -> web.Response:
    answer = orjson.dumps(document)
    return web.Response(body=answer, status=status, content_type="application/json")

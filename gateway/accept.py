"""Accepting a request: what has exactly one meaning goes on, the rest is refused here.

RFC 9112 sections 3 (request line, Host), 6 (message framing) and 7; RFC 9110 sections 7.6.3
(Via), 10.1.1 (Expect).
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from aiohttp import web
from aiohttp.web_exceptions import HTTPException
from multidict import CIMultiDictProxy

from gateway.answers import CONTINUE
from gateway.budget import Hold
from gateway.connection import Connection
from gateway.errors import ClientError
from gateway.headers import Field, values
from policies.facts import RequestFacts
from policies.target import BadTarget, Target, canonical, origin_form, valid_authority

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Networks = Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network]
PROBE = 0.15
"""Seconds within which a client that is gone resets what it is sent."""
_NEVER = frozenset({"TRACE", "CONNECT"})
_REMEMBERED, _MEMORABLE = 1024, 256
"""Peers and hosts that are remembered, and the longest such host."""


@dataclass(frozen=True, slots=True)
class Forwarded:
    """Where a request came from, as the upstream is told (``X-Forwarded-*``)."""

    chain: str
    """The peer, behind whatever a trusted peer says was before it."""
    scheme: str
    host: str
    trusted: bool
    """Whether the peer's own ``X-Forwarded-*`` fields are believed."""


@dataclass(slots=True)
class Incoming:
    """One accepted request."""

    raw: web.BaseRequest
    method: str
    target: Target
    host: str
    fields: Sequence[Field]
    forwarded: Forwarded
    id: str
    _facts: RequestFacts | None = None

    def facts(self, body: bytes | None) -> RequestFacts:
        """What rules may read of it; the same for the same ``body``, which is read but once."""
        if self._facts is None or self._facts.body is not body:
            self._facts = RequestFacts(self.method, self.host, self.target, self.headers, body)
        return self._facts

    @property
    def headers(self) -> CIMultiDictProxy[str]:
        return self.raw.headers

    @property
    def origin(self) -> str | None:
        return self.raw.headers.get("Origin")

    @property
    def query(self) -> str | None:
        return self.target.query

    @property
    def has_body(self) -> bool:
        return self.raw.body_exists


class Acceptor:
    """Reads the head of a request into an :class:`Incoming`, or says what is wrong with it."""

    def __init__(self, trusted: Networks, pseudonym: str) -> None:
        self._trusted = trusted
        self._pseudonym = pseudonym.encode()
        self._peer = lru_cache(maxsize=_REMEMBERED)(self._look)

    def accept(self, request: web.BaseRequest, request_id: str) -> Incoming:
        """ClientError for a request without exactly one meaning."""
        fields, method = request._message.raw_headers, request.method
        host = _host(request)
        _check_framing(request)
        if method in _NEVER:
            raise ClientError("method_not_allowed", f"{method} is not served here", status=405)
        if "Via" in request.headers:
            self._check_loop(fields)
        target = _target(request, host)
        _check_text(fields)
        return Incoming(
            request, method, target, host, fields, self._forwarded(request, host, fields), request_id
        )

    def _check_loop(self, fields: Sequence[Field]) -> None:
        for value in values(fields, b"via"):
            if self._pseudonym in value:
                raise ClientError(
                    "loop_detected", "this request already came through this gateway", status=508
                )

    def _forwarded(self, request: web.BaseRequest, host: str, fields: Sequence[Field]) -> Forwarded:
        peer, trusted = self._peer(request.remote or "")
        if not trusted:
            return _stranger(peer, host) if len(host) <= _MEMORABLE else _stranger.__wrapped__(peer, host)
        before = [part.strip() for value in values(fields, b"x-forwarded-for") for part in value.split(b",")]
        chain = [part.decode() for part in before if part]
        scheme = _only(values(fields, b"x-forwarded-proto"))
        return Forwarded(
            ", ".join([*chain, peer]),
            scheme.lower() if scheme.lower() in ("http", "https") else "http",
            _only(values(fields, b"x-forwarded-host")) or host,
            trusted=True,
        )

    def _look(self, remote: str) -> tuple[str, bool]:
        """A peer's address, and whether it is trusted."""
        peer = _address(remote)
        return str(peer or ""), peer is not None and any(peer in network for network in self._trusted)


@lru_cache(maxsize=_REMEMBERED)
def _stranger(peer: str, host: str) -> Forwarded:
    """Whose word on where it comes from is not asked."""
    return Forwarded(peer, "http", host, trusted=False)


def _address(peer: str) -> Address | None:
    """The peer's address; an IPv4 client of an IPv6 socket is an IPv4 client."""
    if not peer:
        return None
    address = ipaddress.ip_address(peer.partition("%")[0])
    return getattr(address, "ipv4_mapped", None) or address


def _only(found: Sequence[bytes]) -> str:
    return found[0].decode() if len(found) == 1 else ""


def _check_text(fields: Sequence[Field]) -> None:
    """Refuse what the HTTP client cannot send on: it would leave such bytes out without a word."""
    text = b"\n".join([value for _, value in fields])
    if text.isascii():
        return
    try:
        text.decode()
    except UnicodeDecodeError as error:
        raise ClientError("bad_request", "header values must be UTF-8") from error


def _host(request: web.BaseRequest) -> str:
    hosts = request.headers.getall("Host", ())
    if not hosts and request.version == (1, 0):
        return ""
    if len(hosts) != 1 or not _names_authority(host := hosts[0]):
        raise ClientError("bad_host", "send one Host header that names one authority", close=True)
    return host


@lru_cache(maxsize=_REMEMBERED)
def _authority(host: str) -> bool:
    return valid_authority(host)


def _names_authority(host: str) -> bool:
    return _authority(host) if len(host) <= _MEMORABLE else valid_authority(host)


def _check_framing(request: web.BaseRequest) -> None:
    if request.version not in ((1, 0), (1, 1)):
        raise ClientError("http_version", "HTTP/1.0 and HTTP/1.1 are served here", status=505, close=True)
    headers = request.headers
    if "Transfer-Encoding" in headers:
        if request.version == (1, 0) or "Content-Length" in headers:
            raise ClientError("bad_request", "the message's framing is ambiguous", close=True)
        if [coding.lower() for coding in headers.getall("Transfer-Encoding")] != ["chunked"]:
            raise ClientError(
                "transfer_coding", "only the chunked transfer coding is served", status=501, close=True
            )
    if "Expect" in headers and [each.lower() for each in headers.getall("Expect")] != ["100-continue"]:
        raise ClientError("expectation_failed", "only 100-continue can be expected", status=417, close=True)


def _target(request: web.BaseRequest, host: str) -> Target:
    raw: str = request._message.path
    try:
        return canonical(raw if raw.startswith("/") else origin_form(raw, host))
    except BadTarget as error:
        raise ClientError("bad_target", str(error)) from error


async def read_body(incoming: Incoming, limit: int, timeout: float, hold: Hold) -> bytes:
    """The whole request body; 413 above ``limit`` bytes, 408 after ``timeout`` seconds."""
    if not incoming.has_body:
        return b""
    request = incoming.raw
    if (request.content_length or 0) > limit:
        raise _too_large(limit)
    try:
        async with asyncio.timeout(timeout):
            return await _read(request, limit, hold)
    except TimeoutError as error:
        raise ClientError(
            "body_timeout", "the request body came too slowly", status=408, close=True
        ) from error
    except (ConnectionError, web.RequestPayloadError, HTTPException) as error:
        # Its traceback and the future it came from hold each other, and with them the body.
        raise ClientError(
            "bad_request", "the request body ended early or is malformed", close=True
        ) from error.with_traceback(None)


async def _read(request: web.BaseRequest, limit: int, hold: Hold) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while chunk := await request.content.readany():
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        hold.add(len(chunk))
        chunks.append(chunk)
    return b"".join(chunks)


def _too_large(limit: int) -> ClientError:
    return ClientError(
        "body_too_large", f"the request body is larger than {limit} bytes", status=413, close=True
    )


async def still_there(incoming: Incoming, connection: Connection) -> bool:
    """Whether somebody waits for the answer, as far as can be told.

    A client that ended its side may wait, or be gone since long before its request was read: who is gone
    resets what it is sent (RFC 9293 section 3.10.7), and ``100 Continue`` means nothing to who waits. The
    first one provokes the reset, the second one meets it.
    """
    request = incoming.raw
    if connection.client_ended and request.version >= (1, 1):
        for _ in range(2):
            if request.transport is not None:
                request.transport.write(CONTINUE)
            await asyncio.sleep(PROBE)
    return request.transport is not None


def invite_body(incoming: Incoming) -> None:
    """Say ``100 Continue`` to a client that waits for it: only once its body is wanted."""
    request = incoming.raw
    waits = "Expect" in request.headers and incoming.has_body and request.version >= (1, 1)
    if waits and request.transport is not None:
        request.transport.write(CONTINUE)

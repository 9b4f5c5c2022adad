"""Forwarding: one request out, one answer in, and every upstream fault translated here.

The aiohttp client is kept from helping: no cookies kept, no redirect followed, nothing
decompressed, no proxy from the environment, no second send on a dead connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from gateway import headers
from gateway.accept import Incoming
from gateway.budget import Hold
from gateway.errors import UpstreamError
from gateway.headers import Field
from gateway.listener import MAX_FIELD, MAX_FIELDS
from gateway.settings import Upstream

_AUTOMATIC = ("Accept", "Accept-Encoding", "User-Agent", "Content-Type")
_BODY_METHODS = frozenset({"POST", "PUT", "PATCH"})

Body = bytes | AsyncIterator[bytes] | None


@dataclass(frozen=True, slots=True)
class Fetched:
    """An upstream's whole answer, checked to be emittable."""

    status: int
    fields: tuple[Field, ...]
    body: bytes
    length: int | None
    """The Content-Length the upstream named, for answers without a body (HEAD)."""


class Forwarder:
    """Sends requests to the configured upstreams over kept-alive connections."""

    def __init__(self, upstreams: Mapping[str, Upstream], pseudonym: str, max_answer: int) -> None:
        self._upstreams = upstreams
        self._pseudonym = pseudonym
        self._max_answer = max_answer
        self._session: aiohttp.ClientSession | None = None

    def replace(self, upstreams: Mapping[str, Upstream]) -> None:
        """Use another set of upstreams for requests to come."""
        self._upstreams = upstreams

    async def open(self) -> None:
        """Prepare the connection pool; no connection is made yet."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=10),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            skip_auto_headers=_AUTOMATIC,
            max_line_size=MAX_FIELD,
            max_field_size=MAX_FIELD,
            max_headers=MAX_FIELDS,
        )
        # The pool would send an idempotent request again on a dead connection: the upstream
        # would work twice for one payment. There is no public switch; a test pins this one.
        self._session._retry_connection = False

    async def close(self) -> None:
        """Close every upstream connection."""
        if self._session is not None:
            await self._session.close()

    async def fetch(
        self,
        incoming: Incoming,
        upstream: str,
        body: bytes,
        extra: Sequence[Field],
        timeout: float | None,
        hold: Hold,
    ) -> Fetched:
        """Forward and hold the whole answer; ``timeout`` (seconds) covers all of it.

        UpstreamError ``upstream_unreachable``, ``upstream_timeout``, ``upstream_invalid`` or
        ``answer_too_large``: nothing of the answer was passed on.
        """
        seconds = timeout or self._upstreams[upstream].timeout
        try:
            async with asyncio.timeout(seconds):
                async with self.exchange(incoming, upstream, body, extra, None) as response:
                    fields = checked_fields(response)
                    content = await self._read(response, hold)
        except TimeoutError as error:
            raise _timed_out() from error
        length = response.headers.get("Content-Length")
        return Fetched(response.status, tuple(fields), content, int(length) if length else None)

    async def _read(self, response: aiohttp.ClientResponse, hold: Hold) -> bytes:
        chunks: list[bytes] = []
        size = 0
        async for chunk in chunks_of(response):
            size += len(chunk)
            if size > self._max_answer:
                raise UpstreamError(
                    "answer_too_large", "the upstream's answer is larger than can be held back"
                )
            hold.add(len(chunk))
            chunks.append(chunk)
        return b"".join(chunks)

    @asynccontextmanager
    async def exchange(
        self, incoming: Incoming, upstream: str, body: Body, extra: Sequence[Field], idle: float | None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """One request to ``upstream``; inside, its answer has begun. ``idle`` bounds silence (seconds)."""
        assert self._session is not None
        target = self._upstreams[upstream]
        timeout = aiohttp.ClientTimeout(total=None, connect=target.connect_timeout, sock_read=idle)
        try:
            response = await self._session.request(
                incoming.method,
                _url(target, incoming),
                headers=self._header(incoming, target, body, extra),
                data=body or None,
                allow_redirects=False,
                timeout=timeout,
            )
        except (aiohttp.ConnectionTimeoutError, aiohttp.ClientConnectorError) as error:
            raise UpstreamError("upstream_unreachable", "the upstream cannot be reached") from error
        except TimeoutError as error:
            raise _timed_out() from error
        except aiohttp.ClientError as error:
            raise _invalid() from error
        try:
            yield response
        finally:
            # Whatever was not read to its end must not be reused.
            response.close()

    def _header(
        self, incoming: Incoming, target: Upstream, body: Body, extra: Sequence[Field]
    ) -> CIMultiDict[str]:
        fields = CIMultiDict(
            (_text(name), _text(value)) for name, value in headers.for_upstream(incoming.fields)
        )
        authority = URL(target.url).authority if target.host == "upstream" else incoming.host
        fields["Host"] = authority
        fields["X-Forwarded-For"] = incoming.forwarded_for
        fields["X-Forwarded-Proto"] = incoming.scheme
        if incoming.host:
            fields["X-Forwarded-Host"] = incoming.host
        fields["X-Request-Id"] = incoming.id
        fields.add("Via", f"1.1 {self._pseudonym}")
        length = _length(incoming, body)
        if length is not None:
            fields["Content-Length"] = length
        for name, value in extra:
            fields[_text(name)] = _text(value)
        for key, secret in target.headers.items():
            fields[key] = secret
        return fields


def _length(incoming: Incoming, body: Body) -> str | None:
    if isinstance(body, bytes):
        return str(len(body)) if body or incoming.method in _BODY_METHODS else None
    return incoming.headers.get("Content-Length")


def _url(target: Upstream, incoming: Incoming) -> URL:
    query = f"?{incoming.query}" if incoming.query else ""
    return URL(f"{target.url.rstrip('/')}{incoming.target.path}{query}", encoded=True)


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def checked_fields(response: aiohttp.ClientResponse) -> list[Field]:
    """The answer's fields for the client; UpstreamError when they do not have one meaning.

    Checked before anything is settled: what cannot be emitted must not be paid for.
    """
    raw = response.raw_headers
    lengths = set(headers.values(raw, b"content-length"))
    codings = headers.values(raw, b"transfer-encoding")
    if (
        len(lengths) > 1
        or any(coding.strip().lower() != b"chunked" for coding in codings)
        or len(codings) > 1
    ):
        raise _invalid()
    fields = headers.from_upstream(raw)
    if not 200 <= response.status <= 599 or not headers.emittable(fields):
        raise _invalid()
    return fields


async def chunks_of(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """The answer's content as it comes; UpstreamError when it does not end as announced."""
    while True:
        try:
            chunk = await response.content.readany()
        except aiohttp.ServerTimeoutError as error:
            raise _timed_out() from error
        except (aiohttp.ClientError, ConnectionError) as error:
            raise _invalid() from error
        if not chunk:
            return
        yield chunk


def _timed_out() -> UpstreamError:
    return UpstreamError("upstream_timeout", "the upstream did not answer in time", status=504)


def _invalid() -> UpstreamError:
    return UpstreamError("upstream_invalid", "the upstream's answer is broken")

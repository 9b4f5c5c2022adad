"""Forwarding: one request out, one answer in, and every upstream fault translated here.

The aiohttp client is kept from helping: no cookies kept, no redirect followed, nothing
decompressed, no proxy from the environment, no second send on a dead connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import RawResponseMessage
from aiohttp.payload import Payload
from aiohttp.streams import StreamReader
from multidict import CIMultiDict
from yarl import URL

from facilitator.crashpoints import reach
from gateway import headers
from gateway.accept import Incoming
from gateway.budget import Hold
from gateway.errors import UpstreamError
from gateway.headers import Field
from gateway.listener import MAX_FIELD, MAX_FIELDS
from gateway.settings import Upstream

_AUTOMATIC = ("Accept", "Accept-Encoding", "User-Agent", "Content-Type")
_BODY_METHODS = frozenset({"POST", "PUT", "PATCH"})

Body = bytes | Payload | None


@dataclass(frozen=True, slots=True)
class Fetched:
    """An upstream's whole answer, checked to be emittable."""

    status: int
    fields: tuple[Field, ...]
    body: bytes
    length: int | None
    """The Content-Length the upstream named, for answers without a body (HEAD)."""


class UpstreamConnection(ResponseHandler):
    """One connection to an upstream: one answer for each request, and no byte beyond it.

    aiohttp would take what an upstream sends unasked for the answer to the next request, which may
    be another client's, and would leave the reader of content that turns malformed waiting.
    """

    _answer: StreamReader | None = None
    """The content of the answer to the request of now, once it has begun."""

    def set_response_params(self, **params: Any) -> None:
        """Expect an answer."""
        self._answer = None
        super().set_response_params(**params)

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        """Take the one answer."""
        message, content = data
        if self._answer is not None:
            self.force_close()
            return
        if message.code >= 200:
            self._answer = content
        super().feed_data(data, size)

    def data_received(self, data: bytes) -> None:
        """Read on, or hang up on what is said out of turn."""
        if data and self._answer is not None and self._answer.is_eof():
            self.close()
            return
        super().data_received(data)
        broken, answer = isinstance(self._exception, HttpProcessingError), self._answer
        if broken and answer is not None and not answer.is_eof():
            answer.set_exception(aiohttp.ClientPayloadError("malformed content"))


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
        connector = aiohttp.TCPConnector(limit=0, ttl_dns_cache=10)
        connection = cast(type[ResponseHandler], UpstreamConnection)
        connector._factory = partial(connection, loop=asyncio.get_running_loop())
        self._session = aiohttp.ClientSession(
            connector=connector,
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
                    reach("K4")
                    return await self.hold_back(response, checked_fields(response), hold)
        except TimeoutError as error:
            raise _timed_out() from error

    async def hold_back(
        self, response: aiohttp.ClientResponse, fields: Sequence[Field], hold: Hold
    ) -> Fetched:
        """The rest of an answer that has begun, whole; UpstreamError as ``fetch``."""
        content = await self._read(response, hold)
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
        forwarded = incoming.forwarded
        kept = headers.for_upstream(incoming.fields, trusted=forwarded.trusted)
        fields = CIMultiDict((name.decode(), value.decode()) for name, value in kept)
        asked = incoming.host if target.host == "preserve" else ""
        fields["Host"] = asked or URL(target.url).authority
        fields["X-Forwarded-For"] = forwarded.chain
        fields["X-Forwarded-Proto"] = forwarded.scheme
        if forwarded.host:
            fields["X-Forwarded-Host"] = forwarded.host
        fields["X-Request-Id"] = incoming.id
        fields.add("Via", f"1.1 {self._pseudonym}")
        length = _length(incoming, body)
        if length is not None:
            fields["Content-Length"] = length
        for name, value in extra:
            fields[name.decode()] = value.decode()
        for key, secret in target.headers.items():
            fields[key] = secret
        return fields


def _length(incoming: Incoming, body: Body) -> str | None:
    if isinstance(body, bytes):
        return str(len(body)) if body or incoming.method in _BODY_METHODS else None
    length = incoming.raw.content_length
    return None if length is None else str(length)


def _url(target: Upstream, incoming: Incoming) -> URL:
    base = URL(target.url, encoded=True)
    query = "" if incoming.query is None else f"?{incoming.query}"
    # As part of the path the query stays as it is: a bare "?" would be lost otherwise.
    path = f"{base.raw_path.rstrip('/')}{incoming.target.path}{query}"
    return URL.build(scheme=base.scheme, authority=base.authority, path=path, encoded=True)


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
        except TimeoutError as error:
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

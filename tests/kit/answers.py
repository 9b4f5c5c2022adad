"""What a buyer got, whichever client bought it, and the plainest client there is."""

from __future__ import annotations

import base64
import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

RECEIPT_HEADERS = ("payment-response", "x-payment-response")


class PurchaseFailed(Exception):
    """The client itself gave up: it threw instead of returning an answer."""


@dataclass(frozen=True)
class Answer:
    """Status, headers by lower-case name (a repeated one joined by commas), body as the client gave it."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def challenge(self) -> dict[str, Any]:
        """The decoded ``PAYMENT-REQUIRED`` header (v2); the v1 challenge is the body."""
        return decoded(self.headers["payment-required"])

    @property
    def receipt(self) -> dict[str, Any] | None:
        """The decoded receipt header of either version, if there is one."""
        return next((decoded(self.headers[name]) for name in RECEIPT_HEADERS if name in self.headers), None)

    @property
    def transaction(self) -> str:
        """The transaction hash in the receipt, or ``""``."""
        return str((self.receipt or {}).get("transaction", ""))


def decoded(header: str) -> dict[str, Any]:
    """An x402 header's object: strict base64 of JSON."""
    document: dict[str, Any] = json.loads(base64.b64decode(header, validate=True))
    return document


def request(
    url: str,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    timeout: float = 30.0,
) -> Answer:
    """One request on a connection of its own: target sent as given, nothing followed or decompressed."""
    parts = urlsplit(url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    connection = http.client.HTTPConnection(parts.hostname or "127.0.0.1", parts.port, timeout=timeout)
    try:
        connection.request(method, target, body, dict(headers or {}))
        reply = connection.getresponse()
        return Answer(reply.status, joined(reply.getheaders()), reply.read())
    finally:
        connection.close()


async def request_with(
    session: aiohttp.ClientSession,
    url: str,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
) -> Answer:
    """The same, in crowds: open ``session`` with ``auto_decompress=False``."""
    async with session.request(
        method, URL(url, encoded=True), headers=headers, data=body, allow_redirects=False
    ) as reply:
        return Answer(reply.status, joined(reply.headers.items()), await reply.read())


def joined(lines: Any) -> dict[str, str]:
    """Header lines as one value per lower-case name."""
    headers: dict[str, str] = {}
    for name, value in lines:
        known = headers.get(name.lower())
        headers[name.lower()] = value if known is None else f"{known}, {value}"
    return headers

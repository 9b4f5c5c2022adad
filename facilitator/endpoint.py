"""One facilitator behind a URL: POST /verify and /settle, GET /supported, and how it has been doing.

Nothing it does can cost more than a time limit and a bounded read: no redirects, no
cookies, no proxies, and an answer is one JSON object or none at all.
"""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlsplit

from facilitator.breaker import Breaker
from facilitator.http1.client import Client
from facilitator.http1.errors import Closed, HttpError, Unreachable, Unsendable
from facilitator.strict import MalformedPayment, json_object
from facilitator.supported import Kind, find_kind, read_kinds

T = TypeVar("T")

MAX_ANSWER = 64 * 1024
MAX_SUPPORTED = 1024 * 1024
"""Bytes."""

_FIELDS = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "tollway"}
_JSON = {"Content-Type": "application/json"}


class NoAnswer(Exception):
    """Nothing came that could be read."""

    def __init__(self, what: str, *, heard: bool = True) -> None:
        super().__init__(what)
        self.heard = heard
        """False only where no connection came about: then the request cannot have been heard."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer's status and object."""

    status: int
    document: Mapping[str, Any]

    @property
    def fine(self) -> bool:
        """A 2xx."""
        return 200 <= self.status < 300


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A facilitator as it is configured; ``url`` as ``check_url`` gives it."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Sent with every request: a bearer token, most often."""
    networks: frozenset[str] = frozenset()
    """CAIP-2 ids it is for; empty: all."""

    def serves(self, network: str) -> bool:
        """Whether it is for payments on a network."""
        return not self.networks or network in self.networks

    @property
    def name(self) -> str:
        """What may be logged: the URL without what could be a secret."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}{parts.path}"


def check_url(url: str, allowed: Collection[str] = ()) -> str:
    """A facilitator's base URL without the slash at its end.

    ValueError unless it is https, or http to a loopback host or to one of the ``allowed`` host names;
    user information, a query and a fragment are refused.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("a facilitator's URL begins with https:// and names a host")
    if parts.port == 0 or "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError("a facilitator's URL has no user, query or fragment; keys go into its headers")
    if parts.scheme == "http" and not _loopback(parts.hostname) and parts.hostname not in allowed:
        raise ValueError(f"payments go over https: {parts.hostname} is neither loopback nor allowed by name")
    return url.rstrip("/")


class Remote:
    """A configured facilitator and what is known of it."""

    def __init__(
        self,
        endpoint: Endpoint,
        client: Client,
        breaker: Breaker | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.endpoint = endpoint
        self.breaker = breaker or Breaker(now=now)
        self.kinds: tuple[Kind, ...] = ()
        """Of the last good /supported; empty before one."""
        self._found: dict[tuple[str, str], Kind | None] = {}
        self.doubted = 0
        """Claimed successes that did not bear looking at."""
        self._client = client
        self._now = now
        self._fields = {**_FIELDS, **endpoint.headers}
        self._supported_at: float | None = None

    @property
    def age(self) -> float | None:
        """Seconds since the last good /supported."""
        return None if self._supported_at is None else self._now() - self._supported_at

    def kind(self, network: str, scheme: str) -> Kind | None:
        """What it said of payments of a scheme on a network, where it serves that."""
        asked = network, scheme
        if asked not in self._found:
            serves = self.endpoint.serves(network)
            self._found[asked] = find_kind(self.kinds, network, scheme) if serves else None
        return self._found[asked]

    async def ask(
        self, what: str, body: bytes, within: float, read: Callable[[Reply], T | None], *, again: bool
    ) -> T:
        """POST to ``/verify`` or ``/settle`` and read the answer; NoAnswer when there is none.

        The breaker must have admitted it, and is told. ``again``: a second try on another connection
        where a kept one was closed meanwhile.
        """
        try:
            found = read(await self._exchange("POST", what, body, within, MAX_ANSWER, again=again))
            if found is None:
                raise NoAnswer(f"{self.endpoint.name}: says nothing of the payment")
        except NoAnswer:
            self.breaker.failed()
            raise
        finally:
            self.breaker.left()
        self.breaker.worked()
        return found

    def doubt(self) -> None:
        """It claimed what does not bear looking at."""
        self.doubted += 1

    async def refresh(self, within: float) -> bool:
        """GET /supported; the last good answer is kept where this one is none. Whether it answered."""
        try:
            reply = await self._exchange("GET", "/supported", None, within, MAX_SUPPORTED, again=True)
            if not reply.fine:
                raise NoAnswer(f"{self.endpoint.name}: HTTP {reply.status}")
            self.kinds = read_kinds(reply.document)
            self._found.clear()
        except NoAnswer as error:
            if not error.heard:
                self.breaker.unseen()
            return False
        except MalformedPayment:
            return False
        self._supported_at = self._now()
        self.breaker.seen()
        return True

    async def _exchange(
        self, method: str, what: str, body: bytes | None, within: float, most: int, *, again: bool
    ) -> Reply:
        until = asyncio.get_running_loop().time() + within
        fields = self._fields if body is None else self._fields | _JSON
        url = self.endpoint.url + what
        try:
            try:
                answer = await self._client.fetch(method, url, body, fields, until=until, most=most)
            except Closed:
                if not again:
                    raise
                answer = await self._client.fetch(method, url, body, fields, until=until, most=most)
            if 300 <= answer.status < 400:
                raise NoAnswer(f"{self.endpoint.name}: a redirect")
            return Reply(answer.status, json_object(answer.content))
        except (HttpError, MalformedPayment) as error:
            heard = not isinstance(error, Unreachable | Unsendable)
            raise NoAnswer(f"{self.endpoint.name}: {type(error).__name__}", heard=heard) from error


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

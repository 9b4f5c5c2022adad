"""A small JSON-RPC 2.0 client: one HTTP round trip per batch, several endpoints in order.

Every call made through it may safely be made twice (reads, and raw transactions, which
are the same transaction however often they arrive), so transport errors fail over.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import orjson

from facilitator.base import VerificationUnavailable
from facilitator.http1.client import Client
from facilitator.http1.errors import Closed, HttpError, TooLarge
from facilitator.rounds import Call, Rounds

MAX_ANSWER = 8 * 1024 * 1024
"""Bytes; a batch of fifty receipts is far below."""

_MOST_CALLS = 64
"""Calls in one HTTP request; providers cap it, longer batches take several."""

_FIELDS = {
    "Content-Type": "application/json",
    "Accept": "application/json",
    "Accept-Encoding": "identity",
    "User-Agent": "tollway",
}
"""Some providers refuse who does not say what he is."""

_REST = 10.0
"""Seconds for which an endpoint that failed is asked last."""

_ids = itertools.count(1)
"""No two calls have the same: what belongs to another one cannot be taken for an answer."""

_BUSY = frozenset({408, 429, 502, 503, 504})
"""Statuses that say nothing about what was asked: asking in smaller pieces would only make it worse."""


class RpcUnavailable(VerificationUnavailable):
    """No endpoint gave an answer that can be read; nothing is known."""


class _Unreadable(RpcUnavailable):
    """An endpoint answered, but not what was asked: perhaps it was too much for it."""


@dataclass(frozen=True, slots=True)
class RpcError:
    """A call's own error object (JSON-RPC 2.0 section 5.1), as a value."""

    code: int
    message: str
    data: str | None


class _Endpoint:
    """One URL, and what is known of it."""

    def __init__(self, client: Client, url: str, timeout: float) -> None:
        self._client = client
        self.url = url
        self._timeout = timeout
        self.checked = False
        self.failed_at = float("-inf")
        self.rounds = Rounds(self.exchange, RpcUnavailable, _Unreadable)

    @property
    def host(self) -> str:
        """What may be logged: paths of RPC URLs carry keys."""
        return urlsplit(self.url).hostname or "?"

    @property
    def rests(self) -> bool:
        """Whether it failed a moment ago."""
        return time.monotonic() - self.failed_at < _REST

    async def exchange(self, calls: Sequence[Call]) -> list[Any]:
        """A result or RpcError for each call, from one request."""
        asked = [
            {"jsonrpc": "2.0", "id": next(_ids), "method": method, "params": params}
            for method, params in calls
        ]
        try:
            raw = await self._post(orjson.dumps(asked))
        except TooLarge as error:
            raise _Unreadable(f"{self.host}: too long an answer") from error
        except HttpError as error:
            raise RpcUnavailable(f"{self.host}: {type(error).__name__}") from error
        return _results(raw, [each["id"] for each in asked], self.host)

    async def _post(self, body: bytes) -> bytes:
        try:
            return await self._post_once(body)
        except Closed:
            # A kept connection that the other side had just closed says nothing about the node.
            return await self._post_once(body)

    async def _post_once(self, body: bytes) -> bytes:
        until = asyncio.get_running_loop().time() + self._timeout
        answer = await self._client.fetch("POST", self.url, body, _FIELDS, until=until, most=MAX_ANSWER)
        if answer.status != 200:
            raise (RpcUnavailable if answer.status in _BUSY else _Unreadable)(
                f"{self.host}: HTTP {answer.status}"
            )
        return answer.content


class Rpc:
    """The endpoints of one chain. Each is asked for its chain id before it is first believed."""

    def __init__(self, client: Client, urls: Sequence[str], chain_id: int, *, timeout: float = 5.0) -> None:
        """``timeout`` is seconds for one round trip; it bounds every attempt by itself."""
        self._endpoints = [_Endpoint(client, url, timeout) for url in urls]
        self._chain_id = chain_id

    def apart(self) -> list[Rpc]:
        """A client of its own for each endpoint, to hear what each of them says."""
        return [self._only(endpoint) for endpoint in self._endpoints]

    @property
    def resting(self) -> bool:
        """Whether every endpoint failed a moment ago."""
        return all(endpoint.rests for endpoint in self._endpoints)

    async def call(self, method: str, *params: Any) -> Any:
        """The result of one call, or its RpcError; RpcUnavailable as in ``batch``."""
        return (await self.batch([(method, params)]))[0]

    async def batch(
        self, calls: Sequence[Call], check: Callable[[list[Any]], None] | None = None
    ) -> list[Any]:
        """One result or RpcError for each call, in order, all from one endpoint.

        RpcUnavailable when no endpoint answers, or none is of the right chain. ``check`` may raise
        it, too: then the next endpoint is asked.
        """
        problem: RpcUnavailable | None = None
        for endpoint in sorted(self._endpoints, key=lambda endpoint: endpoint.rests):
            try:
                answers = await self._ask(endpoint, calls)
                if check is not None:
                    check(answers)
                return answers
            except RpcUnavailable as error:
                endpoint.checked = False
                endpoint.failed_at = time.monotonic()
                problem = error
        raise problem or RpcUnavailable("no RPC endpoint is configured")

    def _only(self, endpoint: _Endpoint) -> Rpc:
        one = copy(self)
        one._endpoints = [endpoint]
        return one

    async def _ask(self, endpoint: _Endpoint, calls: Sequence[Call]) -> list[Any]:
        if len(calls) > _MOST_CALLS:
            head = await self._ask(endpoint, calls[:_MOST_CALLS])
            return head + await self._ask(endpoint, calls[_MOST_CALLS:])
        if endpoint.checked:
            return await endpoint.rounds.ask(calls)
        chain_id, *answers = await endpoint.exchange([("eth_chainId", ()), *calls])
        if chain_id != hex(self._chain_id):
            raise RpcUnavailable(f"{endpoint.host}: not chain {self._chain_id}")
        endpoint.checked = True
        return answers


def _results(raw: bytes, ids: Sequence[Any], host: str) -> list[Any]:
    try:
        answers = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise _Unreadable(f"{host}: not JSON") from error
    if not isinstance(answers, list):
        raise _Unreadable(f"{host}: the batch was refused")
    by_id = {each.get("id"): each for each in answers if isinstance(each, dict)}
    if any(each not in by_id for each in ids):
        raise _Unreadable(f"{host}: answers are missing, or another call's")
    return [_result(by_id[each]) for each in ids]


def _result(answer: dict[str, Any]) -> Any:
    error = answer.get("error")
    if error is None:
        return answer.get("result")
    if not isinstance(error, dict):
        return RpcError(0, str(error), None)
    code, data = error.get("code"), error.get("data")
    return RpcError(
        code if isinstance(code, int) else 0,
        str(error.get("message", "")),
        data if isinstance(data, str) else None,
    )


def quantity(answer: Any) -> int:
    """A hex quantity as a number; RpcUnavailable when the node answered anything else."""
    try:
        return int(answer, 16)
    except (TypeError, ValueError) as error:
        raise RpcUnavailable("not a quantity") from error

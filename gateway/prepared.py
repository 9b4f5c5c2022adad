"""402 answers prepared once: per request only the resource and the request id are filled in."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from gateway.conxa.page import Page
from gateway.headers import Field
from gateway.rails.base import Challenge, Quote, Rail, Refusal
from policies.money import Money
from policies.route import Route

MOST = 512
"""Prepared answers that are kept: routes times prices times reasons are few."""
_RESOURCE, _REQUEST_ID = (secrets.token_hex(16).encode() for _ in range(2))
"""Where they go; nobody can know these texts before they are looked for."""


class Prepared:
    """The parts of one 402."""

    def __init__(self, challenges: Mapping[str, Challenge], refusal: Refusal) -> None:
        """The v1 body with our members beside it, other rails in ``rails``."""
        every = challenges.values()
        self._documents = [
            (name, orjson.dumps(document).split(_RESOURCE))
            for each in every
            for name, document in each.documents
        ]
        self.pages: list[Callable[[str, str], Page]] = [each.page for each in every if each.page is not None]
        body: dict[str, Any] = {"x402Version": 1, "error": refusal.reason, "accepts": []}
        for each in every:
            body |= each.body
        rails = {name: each.how for name, each in challenges.items() if each.how}
        body |= {"code": refusal.reason, "request_id": _REQUEST_ID.decode(), "rails": rails}
        body |= refusal.members
        self._body = orjson.dumps(body)

    def documents(self, resource: str) -> list[Field]:
        """What stands in header fields, for one request to an absolute URL."""
        url = _text(resource)
        return [(name, base64.b64encode(url.join(parts))) for name, parts in self._documents]

    def body(self, resource: str, request_id: str) -> bytes:
        """The JSON body."""
        return self._body.replace(_RESOURCE, _text(resource)).replace(_REQUEST_ID, request_id.encode())


def _text(resource: str) -> bytes:
    """As it stands in JSON."""
    return orjson.dumps(resource)[1:-1]


@dataclass(frozen=True, slots=True)
class _Kept:
    route: Route
    standing: Sequence[object]
    prepared: Prepared | None


class Preparing:
    """Prepares each challenge when it is first asked for, and anew when a rail has something else to say."""

    def __init__(self, rails: Mapping[str, Rail]) -> None:
        self._rails = rails
        self._kept: dict[tuple[str, Money, str], _Kept] = {}

    def find(self, route: Route, quote: Quote, refusal: Refusal) -> Prepared | None:
        """The 402 for a quote; None while nothing could be settled."""
        if refusal.members:
            return self._prepare(route, quote, refusal)
        key = (route.name, quote.money, refusal.reason)
        standing = [self._rails[name].standing(quote) for name in route.accept]
        kept = self._kept.get(key)
        if kept is None or kept.route is not route or kept.standing != standing:
            if len(self._kept) >= MOST:
                self._kept.clear()
            kept = self._kept[key] = _Kept(route, standing, self._prepare(route, quote, refusal))
        return kept.prepared

    def _prepare(self, route: Route, quote: Quote, refusal: Refusal) -> Prepared | None:
        asked = replace(quote, resource=_RESOURCE.decode())
        every = {name: self._rails[name].challenge(asked, refusal.reason) for name in route.accept}
        challenges = {name: each for name, each in every.items() if each is not None}
        return Prepared(challenges, refusal) if challenges else None

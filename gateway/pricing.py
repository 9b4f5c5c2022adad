"""What a request costs: the route table of now, and for a while the one before.

A reload must not change what was quoted: the previous price of a request is accepted for as
long as an authorization made for it may be valid (``max_timeout``).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from gateway.accept import Incoming
from gateway.errors import ClientError
from gateway.rails.base import Quote
from policies.price import AmbiguousPrice
from policies.route import Route
from policies.table import MethodNotAllowed, NeedsBody, NoRoute, Outcome, RouteTable
from policies.target import BadTarget


@dataclass(frozen=True, slots=True)
class _Previous:
    table: RouteTable
    until: float


class Pricing:
    """Finds routes and quotes them. Times in seconds."""

    def __init__(
        self, table: RouteTable, timeouts: Mapping[str, float], public_url: str, grace: float
    ) -> None:
        """``timeouts`` are the upstreams' by name; ``grace`` is how long an old price stays good."""
        self.table = table
        self._timeouts = timeouts
        self._public_url = public_url.rstrip("/")
        self._grace = grace
        self._previous: list[_Previous] = []

    def replace(self, table: RouteTable, timeouts: Mapping[str, float]) -> None:
        """Quote from another table from now on."""
        now = time.monotonic()
        kept = [previous for previous in self._previous if previous.until > now]
        self._previous = [_Previous(self.table, now + self._grace), *kept]
        self.table = table
        self._timeouts = timeouts

    def priced(self, incoming: Incoming) -> bool:
        """Whether a paid route takes this path, whatever the method."""
        return self.table.priced(incoming.target)

    def route(self, incoming: Incoming, body: bytes | None) -> Route | None:
        """The route of a request; None when telling takes the body, which has not been read.

        ClientError: ``no_route``, ``method_not_allowed``, ``bad_target``, ``ambiguous_price``.
        """
        outcome = _match(self.table, incoming, body)
        if isinstance(outcome, NoRoute):
            raise ClientError("no_route", "nothing is served here", status=404)
        if isinstance(outcome, MethodNotAllowed):
            allow = ", ".join(outcome.allowed)
            raise ClientError(
                "method_not_allowed", f"served here: {allow}", status=405, headers=[("Allow", allow)]
            )
        if isinstance(outcome, NeedsBody):
            return None
        return None if outcome.needs_body and body is None else outcome

    def quotes(self, incoming: Incoming, route: Route, body: bytes | None) -> list[Quote]:
        """What the request costs now, then what it was quoted at before a reload."""
        if not self._previous:
            return [self._quote(incoming, route, body)]
        now = time.monotonic()
        old = [self._old_quote(each.table, incoming, body) for each in self._previous if each.until > now]
        return [self._quote(incoming, route, body), *(quote for quote in old if quote is not None)]

    def _old_quote(self, table: RouteTable, incoming: Incoming, body: bytes | None) -> Quote | None:
        try:
            route = _match(table, incoming, body)
            return None if not isinstance(route, Route) or route.free else self._quote(incoming, route, body)
        except ClientError:
            return None

    def timeout(self, route: Route) -> float:
        """How long the upstream may take."""
        return route.timeout or self._timeouts[route.upstream]

    def _quote(self, incoming: Incoming, route: Route, body: bytes | None) -> Quote:
        try:
            money = route.money(incoming.facts(body))
        except AmbiguousPrice as error:
            raise ClientError("ambiguous_price", str(error)) from error
        assert money is not None, "free routes are not quoted"
        return Quote(
            money=money,
            resource=self._public_url + incoming.target.path,
            description=route.description,
            mime_type=route.mime_type,
            work=self._timeouts.get(route.upstream, 0.0) if route.timeout is None else route.timeout,
            metering=route.metering,
            terms=route.terms,
        )


def _match(table: RouteTable, incoming: Incoming, body: bytes | None) -> Outcome:
    try:
        return table.match(incoming.facts(body))
    except BadTarget as error:
        raise ClientError("bad_target", str(error)) from error
    except AmbiguousPrice as error:
        raise ClientError("ambiguous_price", str(error)) from error

"""What ``tollway check`` and ``tollway quote`` say: computed here, printed by the command line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gateway.rails.conxa import CONNECTION
from gateway.settings import Settings
from policies.facts import RequestFacts
from policies.money import Money, whole_units
from policies.price import AmbiguousPrice, Free, explain
from policies.route import Metering, Route
from policies.table import MethodNotAllowed, NeedsBody, NoRoute, Outcome
from policies.target import BadTarget, canonical


def route_rows(settings: Settings) -> list[dict[str, str]]:
    """The table route -> rails -> price -> upstream, in the order routes are tried."""
    unmatched = settings.table.unmatched
    routes = [*settings.table.routes, *([unmatched] if unmatched else [])]
    return [_row(route) for route in routes]


def _row(route: Route) -> dict[str, str]:
    rails = "-" if route.free else ", ".join(route.accept)
    return {"route": route.name, "rails": rails, "price": _asked(route), "upstream": route.upstream}


def _asked(route: Route) -> str:
    """The price, where somebody pays that; the tokens, where a wallet does."""
    tokens = "" if route.metering is None else _tokens(route.metering)
    if tokens and route.accept == ("conxa",):
        return tokens
    return f"{route.price} or {tokens}" if tokens else str(route.price)


def _tokens(metering: Metering) -> str:
    if metering.kind != "flat":
        named = "" if metering.model is None else f" of {metering.model}"
        return f"tokens{named} by {metering.kind} usage"
    return f"{metering.input_tokens}+{metering.output_tokens} tokens of {metering.model}"


@dataclass(frozen=True, slots=True)
class Offer:
    """What one request costs on one network."""

    rail: str
    network: str
    caip2: str
    amount: int
    """Atomic units."""
    human: str
    """Whole units, with the symbol."""
    asset: str
    pay_to: str


@dataclass(frozen=True, slots=True)
class Explained:
    """Which route takes a request, what it costs and why."""

    request: str
    status: int
    """What an unpaid request would be answered: 200 stands for the upstream's own answer."""
    why: str
    route: str | None = None
    upstream: str | None = None
    price: str | None = None
    offers: tuple[Offer, ...] = ()
    charge: str | None = None
    """What a CONXA wallet is charged instead of the price."""
    passed: tuple[tuple[str, str], ...] = ()
    """Routes that were passed over: (name, why)."""

    def lines(self) -> Iterator[str]:
        """For people, a fact a line."""
        yield self.request
        for name, why in self.passed:
            yield f"  not {name}: {why}"
        if self.route is not None:
            yield f"  route {self.route} -> {self.upstream}"
        yield f"  {self.status} {self.why}" if self.price is None else f"  price {self.price}, {self.why}"
        for offer in self.offers:
            yield (
                f"  {offer.rail} on {offer.network} ({offer.caip2}): {offer.human} = {offer.amount} atomic "
                f"units of {offer.asset} to {offer.pay_to}"
            )
        if self.charge is not None:
            yield f"  conxa: {self.charge}"


class _Fields:
    """Header fields given by hand."""

    def __init__(self, fields: Sequence[tuple[str, str]]) -> None:
        self._fields = fields

    def getall(self, name: str, default: list[str], /) -> list[str]:
        return [value for field, value in self._fields if field.lower() == name.lower()] or default


def quote(
    settings: Settings,
    method: str,
    path: str,
    host: str | None = None,
    headers: Sequence[tuple[str, str]] = (),
    body: bytes | None = None,
) -> Explained:
    """What a request would cost, on every rail and network. ``path`` may have a query.

    ``host`` is the public URL's unless given; without ``body``, prices that read it stay open.
    """
    request = f"{method} {path}"
    authority = settings.server.public_url.partition("://")[2].partition("/")[0] if host is None else host
    try:
        facts = RequestFacts(method, authority, canonical(path), _Fields(headers), body)
        explanation = settings.table.explain(facts)
    except BadTarget as error:
        return Explained(request, 400, f"bad_target: {error}")
    except AmbiguousPrice as error:
        return Explained(request, 400, f"ambiguous_price: {error}")
    if isinstance(explanation.outcome, Route):
        return _quoted(settings, explanation.outcome, facts, request, explanation.passed)
    status, why = _refused(explanation.outcome)
    return Explained(request, status, why, passed=explanation.passed)


def _refused(outcome: Outcome) -> tuple[int, str]:
    if isinstance(outcome, NoRoute):
        return 404, f"no_route: {outcome.why}"
    if isinstance(outcome, MethodNotAllowed):
        return 405, f"method_not_allowed: the path is served to {', '.join(outcome.allowed)}"
    assert isinstance(outcome, NeedsBody)
    return 402, f"route {outcome.route.name} reads the request body: give one to tell"


def _quoted(
    settings: Settings, route: Route, facts: RequestFacts, request: str, passed: tuple[tuple[str, str], ...]
) -> Explained:
    if isinstance(route.price, Free):
        why = "forwarded without payment"
        return Explained(request, 200, why, route.name, route.upstream, "free", passed=passed)
    charge = None if route.metering is None else _charged(route.metering)
    if route.needs_body and facts.body is None:
        why = f"the price depends on the request body: {route.price}"
        return Explained(request, 402, why, route.name, route.upstream, charge=charge, passed=passed)
    try:
        money, why = explain(route.price, facts)
    except AmbiguousPrice as error:
        return Explained(request, 400, f"ambiguous_price: {error}", route.name, route.upstream, passed=passed)
    if route.accept == ("conxa",):
        why = "which nobody is asked for: it only counts towards `exposure`"
    offers = tuple(_offers(settings, route, money))
    return Explained(request, 402, why, route.name, route.upstream, str(money), offers, charge, passed)


def _charged(metering: Metering) -> str:
    what = _tokens(metering)
    if metering.kind == "flat":
        what = f"{metering.input_tokens} input and {metering.output_tokens} output tokens of {metering.model}"
    return f"{what}, charged after the answer to the wallet connected by {CONNECTION}"


def _offers(settings: Settings, route: Route, money: Money) -> Iterator[Offer]:
    x402 = settings.rails.x402
    if x402 is None or "x402" not in route.accept:
        return
    for offer in x402.offers(money, route.terms):
        network = next(each for each in x402.chains if each.caip2 == offer.network)
        asset = next(each for each in network.assets.values() if each.address == offer.asset)
        yield Offer(
            rail="x402",
            network=network.name,
            caip2=network.caip2,
            amount=offer.amount,
            human=f"{whole_units(offer.amount, asset.decimals)} {asset.symbol}",
            asset=asset.address,
            pay_to=offer.pay_to,
        )

"""The routes compiled: from this file and from its policy files, each problem where it stands."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from gateway.settings.document import Document
from gateway.settings.metering import compile_metering
from gateway.settings.model import ExposureEntry, MatchEntry, RouteEntry
from gateway.settings.problems import Path, Problems, did_you_mean, listed
from gateway.settings.rails import RAILS
from gateway.settings.shape import shape
from gateway.settings.terms import compile_terms
from gateway.settings.tree import X402, Network, Rails, Upstream
from policies.condition import SOURCES, BadCondition, Condition, condition
from policies.money import BadMoney, Money
from policies.price import Conditional, Free, Price, PriceError, glob_text, parse_price
from policies.route import BadPattern, Exposure, Pattern, Route, parse_pattern, with_head
from policies.target import split_authority

SLACK = 30.0
"""Seconds between what a request may take and what its authorization is valid for (INTERFACE section 2)."""

_METHOD = re.compile(r"[A-Z][A-Z0-9!#$%&'*+.^_`|~-]*\Z")
_NEVER = frozenset({"TRACE", "CONNECT"})
_RESERVED = (("_tollway",), (".well-known", "x402"))
_CLASS = re.compile(r"([2-5])xx\Z")


@dataclass(frozen=True, slots=True)
class Context:
    """What routes refer to."""

    upstreams: Mapping[str, Upstream]
    """The valid ones."""
    names: frozenset[str]
    """Every upstream's name, valid or not."""
    rails: Rails | None
    """None where the section is broken: then nothing about rails is judged."""
    networks: Mapping[str, Network]
    """Those the file defines, by name."""
    exposure: ExposureEntry
    """For routes that name none of their own."""
    problems: Problems


@dataclass(frozen=True, slots=True)
class Placed:
    """A route with the place it was written at."""

    route: Route
    document: Document
    path: Path

    @property
    def named(self) -> bool:
        """Whether its name was chosen rather than made up."""
        return self.document.at((*self.path, "name")) is not None


def compile_routes(document: Document, context: Context) -> list[Placed]:
    """The valid routes of one file, in order; problems are noted."""
    section = document.at(("routes",))
    if section is None:
        return []
    if not isinstance(section, list):
        context.problems.error(document.places, ("routes",), "must be a list")
        return []
    compiled = (
        _RouteCompiler(document, ("routes", index), context).compile() for index in range(len(section))
    )
    return [each for each in compiled if each is not None]


class _RouteCompiler:
    """One entry of ``routes``."""

    def __init__(self, document: Document, path: Path, context: Context) -> None:
        self._document = document
        self._path = path
        self._context = context

    def compile(self) -> Placed | None:
        before = len(self._context.problems.errors)
        entry = shape(RouteEntry, self._document, self._path, self._context.problems)
        route = entry and self._route(entry)
        if not route or len(self._context.problems.errors) > before:
            return None
        return Placed(route, self._document, self._path)

    @property
    def _x402(self) -> X402 | None:
        return None if self._context.rails is None else self._context.rails.x402

    def _error(self, steps: Path, message: str) -> None:
        path = (*self._path, *steps)
        while not isinstance(self._document.at(path[:-1]), dict | list):
            path = path[:-1]
        self._context.problems.error(self._document.places, path, message)

    def _shown(self, steps: Path, value: str) -> str:
        return self._document.places.shown((*self._path, *steps), value)

    def _route(self, entry: RouteEntry) -> Route | None:
        pattern = self._pattern(entry)
        price = self._price(entry)
        methods = self._methods(entry.match.method, price)
        conditions = self._conditions(entry.match)
        upstream = self._upstream(entry)
        accept = self._accept(entry, price)
        metering = compile_metering(entry, accept, self._context.rails, self._error)
        success = self._success(entry)
        if pattern is None or price is None or upstream is None:
            return None
        self._check_time(entry, accept, upstream)
        return Route(
            name=entry.name or _default_name(entry.match, conditions),
            pattern=pattern,
            upstream=upstream,
            methods=methods,
            host=self._host(entry.match),
            conditions=conditions,
            price=price,
            accept=accept,
            settle=entry.settle,
            exposure=self._exposure(entry),
            settle_lost=entry.on_lost_answer == "settle",
            success=success,
            max_attempts=entry.max_attempts,
            allow_encoded=frozenset(entry.allow_encoded),
            description=entry.description,
            mime_type=entry.mime_type,
            timeout=entry.timeout,
            metering=metering,
            terms=compile_terms(entry, accept, self._x402, self._context.networks, self._error),
        )

    def _exposure(self, entry: RouteEntry) -> Exposure | None:
        if entry.settle != "deferred":
            if entry.exposure is not None:
                self._error(("exposure",), "only means something with `settle: deferred`")
            return None
        caps = entry.exposure or self._context.exposure
        if caps.per_payer > caps.total:
            self._error(("settle",), "exposure.per_payer is more than exposure.total")
        return Exposure(caps.per_payer, caps.total)

    def _pattern(self, entry: RouteEntry) -> Pattern | None:
        try:
            pattern = parse_pattern(entry.match.path)
        except BadPattern as error:
            self._error(("match", "path"), str(error))
            return None
        for reserved in _RESERVED:
            if pattern.segments[: len(reserved)] == reserved:
                self._error(("match", "path"), "/_tollway/ and /.well-known/x402 are the gateway's own")
        missing = pattern.encoded - frozenset(entry.allow_encoded)
        if missing:
            self._error(("match", "path"), f"needs `allow_encoded` for {listed(sorted(missing))}")
        return pattern

    def _methods(self, given: tuple[str, ...], price: Price | None) -> frozenset[str] | None:
        if given == ("*",):
            return None
        for method in given:
            steps: Path = ("match", "method")
            if not _METHOD.match(method):
                hint = f" (did you mean `{method.upper()}`?)" if _METHOD.match(method.upper()) else ""
                self._error(steps, f"{self._shown(('match',), method)} is not a method{hint}")
            elif method in _NEVER:
                self._error(steps, f"{method} is never served")
            elif method == "OPTIONS" and price is not None and not isinstance(price, Free):
                self._error(steps, "OPTIONS is never charged: browsers send it without being asked")
        return with_head(frozenset(given))

    def _host(self, match: MatchEntry) -> str | None:
        if match.host is None:
            return None
        parts = split_authority(match.host)
        if parts is None or "*" in match.host:
            self._error(("match", "host"), "must be one host, perhaps with a port")
            return None
        name = parts[0].removesuffix(".")
        return f"{name}:{parts[1]}" if parts[1] else name

    def _conditions(self, match: MatchEntry) -> tuple[Condition, ...]:
        found: list[Condition] = []
        for source in SOURCES:
            for name, value in getattr(match, source).items():
                try:
                    found.append(condition(source, name, glob_text(value)))
                except BadCondition as error:
                    self._error(("match", source, name), str(error))
        return tuple(found)

    def _upstream(self, entry: RouteEntry) -> str | None:
        names = self._context.names
        if entry.upstream is None:
            if len(names) == 1:
                return next(iter(names))
            if names:
                self._error((), f"`upstream` is required where there are several ({listed(sorted(names))})")
            return None
        if entry.upstream not in names:
            shown = self._shown(("upstream",), entry.upstream)
            self._error(("upstream",), f"unknown upstream {shown}{did_you_mean(entry.upstream, names)}")
            return None
        return entry.upstream

    def _price(self, entry: RouteEntry) -> Price | None:
        try:
            price = parse_price(entry.price)
        except PriceError as error:
            self._price_error(error.at, str(error))
            return None
        x402 = self._x402
        if x402 and "x402" in (entry.accept or RAILS):
            for steps, money in _amounts(price):
                try:
                    x402.check(money)
                except BadMoney as error:
                    self._price_error(steps, str(error))
        return price

    def _price_error(self, steps: Path, message: str) -> None:
        concealed = self._document.places.conceals((*self._path, "price"))
        self._error(("price", *steps), "is not a price that can be paid here" if concealed else message)

    def _accept(self, entry: RouteEntry, price: Price | None) -> tuple[str, ...]:
        for index, name in enumerate(entry.accept or ()):
            if name not in RAILS:
                shown = self._shown(("accept", index), name)
                self._error(("accept", index), f"unknown rail {shown}{did_you_mean(name, RAILS)}")
            elif self._context.rails and name not in self._context.rails.names:
                self._error(("accept", index), f"rail `{name}` is not configured in `rails`")
        if price is None or isinstance(price, Free) or self._context.rails is None:
            return ()
        if not self._context.rails.names:
            self._error(("price",), "a paid route needs a rail: configure `rails.x402` or `rails.conxa`")
        able = [name for name in self._context.rails.names if name != "conxa" or entry.conxa is not None]
        if not entry.accept and not able and self._context.rails.names:
            self._error((), "only `conxa` is configured, and needs to know what to charge: set `conxa`")
        return tuple(dict.fromkeys(entry.accept or able))

    def _success(self, entry: RouteEntry) -> frozenset[int]:
        statuses: set[int] = set()
        for each in entry.success:
            text = str(each)
            if kind := _CLASS.match(text):
                first = int(kind[1]) * 100
                statuses |= set(range(first, first + 100))
            elif re.fullmatch(r"[2-5][0-9][0-9]", text):
                statuses.add(int(text))
            else:
                self._error(("success",), "must be statuses (`200`) or classes of them (`2xx`)")
        return frozenset(statuses)

    def _check_time(self, entry: RouteEntry, accept: tuple[str, ...], upstream: str) -> None:
        """A signature must not expire while the request it pays for is still worked on."""
        x402 = self._x402
        target = self._context.upstreams.get(upstream)
        if "x402" not in accept or not x402 or not target:
            return
        work = target.timeout if entry.timeout is None else entry.timeout
        settle = max((network.settle_within for network in x402.chains), default=0.0)
        if work + settle + SLACK > x402.max_timeout:
            whose = "the upstream's timeout" if entry.timeout is None else "timeout"
            self._error(
                () if entry.timeout is None else ("timeout",),
                f"{whose} ({work:g}s) + settle_within ({settle:g}s) + {SLACK:g}s is more than "
                f"rails.x402.max_timeout ({x402.max_timeout:g}s)",
            )


def _amounts(price: Price) -> list[tuple[Path, Money]]:
    """Every amount of a price with the way to it."""
    if isinstance(price, Conditional):
        clauses: list[tuple[Path, Money]] = [
            (("when", index, "price"), clause.price) for index, clause in enumerate(price.clauses)
        ]
        return [*clauses, (("else",), price.otherwise)]
    return [] if isinstance(price, Free) else [((), price)]


def _default_name(match: MatchEntry, conditions: tuple[Condition, ...]) -> str:
    where = (match.host or "") + match.path
    return " ".join([",".join(match.method), where, *map(str, conditions)])

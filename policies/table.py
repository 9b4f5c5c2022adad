"""The route table: compiled once, asked for every request.

First match wins. Whatever is unclear never leads to a cheaper answer: a path that only a looser
reading takes to a paid route has no route, and an unclear condition stops the search where what
follows could be cheaper.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from policies.facts import AMBIGUOUS, MISSING, RequestFacts, Unclear
from policies.lookalike import loose
from policies.price import AmbiguousPrice, all_hold, at_least
from policies.route import Route
from policies.target import MEMORABLE, REMEMBERED, BadTarget, Target, split_authority
from policies.trie import Trie


@dataclass(frozen=True, slots=True)
class NoRoute:
    """Nothing is served here: 404 ``no_route``."""

    why: str = "no route matches"


@dataclass(frozen=True, slots=True)
class MethodNotAllowed:
    """The path is served, but not to this method: 405, with ``Allow``."""

    allowed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NeedsBody:
    """A candidate reads the body, which has not been read yet: read it and ask again."""

    route: Route


_COMMON = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})
"""What a 405 of an any-method route names: such a route refuses only OPTIONS, when it is paid."""

_LONGEST_METHOD = 16
"""Of those whose outcomes are remembered."""

Found = tuple[tuple[int, ...], tuple[int, ...]]
Outcome = Route | NoRoute | MethodNotAllowed | NeedsBody


@dataclass(slots=True)
class Trail:
    """What a search passed over, and why; kept only to be explained."""

    passed: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Explanation:
    """An outcome with the routes that were passed over on the way to it."""

    outcome: Outcome
    passed: tuple[tuple[str, str], ...]
    """(route name, why it was not taken)"""


class RouteTable:
    """Routes in order. ``unmatched``: a free route for what no other takes, or None to deny."""

    def __init__(self, routes: Sequence[Route], unmatched: Route | None = None) -> None:
        self.routes = tuple(routes)
        self.unmatched = unmatched
        numbered = list(enumerate(self.routes))
        self._exact = Trie((number, route.pattern) for number, route in numbered)
        self._loose = Trie(((number, route.pattern) for number, route in numbered), folded=True)
        self._any_paid = any(not route.free for route in self.routes)
        self._remembered = lru_cache(maxsize=REMEMBERED)(self._search)
        self._plain = not any(route.host or route.conditions for route in self.routes)
        """Whether method and path alone decide."""
        self._decided: dict[tuple[str, str], Outcome] = {}

    def match(self, facts: RequestFacts) -> Outcome:
        """The route that takes a request, or why there is none.

        BadTarget (400) where the path uses escapes the route did not opt into;
        AmbiguousPrice (400) where an unclear value would decide for a cheaper route.
        """
        path = facts.target.path
        if not self._plain or len(path) > MEMORABLE or len(facts.method) > _LONGEST_METHOD:
            return self._match(facts, Trail())
        key = (facts.method, path)
        outcome = self._decided.get(key)
        if outcome is None:
            outcome = self._match(facts, Trail())
            if len(self._decided) >= REMEMBERED:
                self._decided.clear()
            self._decided[key] = outcome
        return outcome

    def explain(self, facts: RequestFacts) -> Explanation:
        """As :meth:`match`, with what was passed over."""
        trail = Trail()
        return Explanation(self._match(facts, trail), tuple(trail.passed))

    def priced(self, target: Target) -> bool:
        """Whether a paid route takes this path, whatever the method."""
        return any(not self.routes[number].free for number in self._find(target)[0])

    def _find(self, target: Target) -> Found:
        return self._remembered(target.path) if len(target.path) <= MEMORABLE else self._search(target.path)

    def _search(self, path: str) -> Found:
        """The numbers of the routes whose pattern takes a path, exactly and loosely."""
        exact = self._exact.find(path[1:].split("/"))
        return tuple(exact), tuple(self._loose.find(loose(path))) if self._any_paid else ()

    def _match(self, facts: RequestFacts, trail: Trail) -> Outcome:
        found, alike = self._find(facts.target)
        numbers = [number for number in found if _same_host(self.routes[number], facts, trail)]
        if _disguised(facts.method) and any(not self.routes[n].free for n in numbers):
            return self._method_not_allowed(numbers)
        outcome: Outcome = self._first(numbers, facts, trail) or self._unmatched(numbers, facts)
        if isinstance(outcome, Route):
            if paid := self._look_alike(outcome, numbers, alike, facts):
                return NoRoute(f"the path is a look-alike of the paid route {paid.name}")
            _check_encoding(outcome, facts.target)
        elif isinstance(outcome, NoRoute) and facts.target.encoded:
            raise BadTarget(f"no route accepts an encoded {' or '.join(sorted(facts.target.encoded))} here")
        return outcome

    def _first(self, numbers: Sequence[int], facts: RequestFacts, trail: Trail) -> Route | NeedsBody | None:
        """The first candidate that takes the request."""
        skipped: list[Route] = []
        for number in numbers:
            route = self.routes[number]
            if not route.takes(facts.method):
                trail.passed.append((route.name, f"does not take {facts.method}"))
            elif route.match_needs_body and facts.body is None:
                return NeedsBody(route)
            elif _held(route, facts, skipped, trail):
                _check_dearer(route, skipped)
                return route
        if self.unmatched is not None:
            _check_dearer(self.unmatched, skipped)
        return None

    def _unmatched(self, numbers: Sequence[int], facts: RequestFacts) -> Outcome:
        """What becomes of a request no route takes: a paid path is never served free to another method."""
        others = [n for n in numbers if not self.routes[n].takes(facts.method)]
        if self.unmatched is not None and all(self.routes[n].free for n in others):
            return self.unmatched
        return self._method_not_allowed(others) if others else NoRoute()

    def _method_not_allowed(self, numbers: Sequence[int]) -> MethodNotAllowed:
        allowed = [self.routes[number].methods or _COMMON for number in numbers]
        return MethodNotAllowed(tuple(sorted(frozenset().union(*allowed))))

    def _look_alike(
        self, taken: Route, exact: Sequence[int], alike: Sequence[int], facts: RequestFacts
    ) -> Route | None:
        """The paid route a looser reading of the path leads to, unless ``taken`` comes first there too."""
        for number in alike:
            route = self.routes[number]
            if route is taken:
                return None
            if number not in exact and dearer(route, taken) and self._concerns(route, taken, facts):
                return route
        return None

    def _concerns(self, paid: Route, taken: Route, facts: RequestFacts) -> bool:
        """What nobody routed is refused whatever its method; a route of its own keeps its own methods."""
        meant = taken is self.unmatched or paid.takes(facts.method.upper())
        return meant and _host_matches(paid, facts.host)


def dearer(paid: Route, other: Route) -> bool:
    """Whether reading a request as ``other``'s instead of ``paid``'s could be a bargain."""
    return not paid.free and (paid.price != other.price or paid.accept != other.accept)


def _disguised(method: str) -> bool:
    """A method some server would upper-case into a priced one."""
    return method != method.upper()


def _same_host(route: Route, facts: RequestFacts, trail: Trail) -> bool:
    if _host_matches(route, facts.host):
        return True
    trail.passed.append((route.name, f"is for host {route.host}"))
    return False


def _host_matches(route: Route, host: str) -> bool:
    """Names compare without case and a final dot; a port only where the route names one."""
    if route.host is None:
        return True
    parts = split_authority(host)
    if parts is None:
        return False
    name = parts[0].removesuffix(".")
    return route.host in (name, f"{name}:{parts[1]}")


def _held(route: Route, facts: RequestFacts, skipped: list[Route], trail: Trail) -> bool:
    """Whether the route's conditions hold; AmbiguousPrice where a value has more than one meaning."""
    held = all_hold(route.conditions, facts)
    if held is True:
        return True
    if held is AMBIGUOUS:
        raise AmbiguousPrice(f"what route {route.name} compares does not have exactly one meaning")
    if held is MISSING:
        skipped.append(route)
    trail.passed.append((route.name, _why_not(route, held)))
    return False


def _why_not(route: Route, held: bool | Unclear) -> str:
    wanted = " and ".join(map(str, route.conditions))
    return f"wants {wanted}" if held is False else f"wants {wanted}, and a value is missing"


def _check_dearer(taken: Route, skipped: Sequence[Route]) -> None:
    """A value left out must not lead to a cheaper route than the value itself."""
    for route in skipped:
        if not at_least(taken.price, route.price):
            what = f"route {route.name} compares a value that is missing"
            raise AmbiguousPrice(f"{what}, and {taken.name} may be cheaper")


def _check_encoding(route: Route, target: Target) -> None:
    refused = target.encoded - route.allow_encoded
    if refused:
        raise BadTarget(f"this route does not accept an encoded {' or '.join(sorted(refused))}")

"""Routes that can never answer: found when they are loaded, not when they are missed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from policies.lookalike import loose
from policies.route import Route
from policies.table import dearer
from policies.trie import Trie

_OTHER = "*"
"""Stands for every method no route names."""


def unreachable(routes: Sequence[Route]) -> list[tuple[int, str]]:
    """(position, why) for each route that no request can reach."""
    folded = Trie(((number, route.pattern) for number, route in enumerate(routes)), folded=True)
    found: list[tuple[int, str]] = []
    for number, route in enumerate(routes):
        why = _covered(route, routes[:number]) or _outshone(number, route, routes, folded)
        if why:
            found.append((number, why))
    return found


def _methods(route: Route) -> Iterable[str]:
    return [method for method in route.methods or (_OTHER, "OPTIONS") if route.takes(method)]


def _covered(route: Route, earlier: Sequence[Route]) -> str | None:
    """Why nothing is left for ``route`` after the routes before it."""
    covering: set[str] = set()
    for method in _methods(route):
        first = next((each for each in earlier if each.covers(route, method)), None)
        if first is None:
            return None
        covering.add(first.name)
    names = " and ".join(f"`{name}`" for name in sorted(covering))
    return f"can never match: {names} comes first and takes all of it"


def _outshone(number: int, route: Route, routes: Sequence[Route], folded: Trie) -> str | None:
    """Why a literal path is always answered 404: it looks like a paid route that comes first."""
    if route.pattern.rest or None in route.pattern.segments:
        return None
    for each in folded.find(loose(route.pattern.text)):
        paid = routes[each]
        if each >= number:
            return None
        if not paid.pattern.covers(route.pattern) and dearer(paid, route) and _share_method(paid, route):
            return f"can never match: its path is a look-alike of the paid route `{paid.name}`"
    return None


def _share_method(one: Route, other: Route) -> bool:
    return one.host in (None, other.host) and any(one.takes(method) for method in _methods(other))

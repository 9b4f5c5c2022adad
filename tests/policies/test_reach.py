"""Routes that can never answer are found at load."""

from __future__ import annotations

import pytest

from policies.condition import Condition, condition
from policies.price import parse_price
from policies.reach import unreachable
from policies.route import Route, parse_pattern, with_head


def route(match: str, price: str = "$1", *conditions: Condition, host: str | None = None) -> Route:
    """A route from its match string."""
    methods, path = match.split()
    takes = None if methods == "*" else with_head(frozenset(methods.split(",")))
    return Route(match, parse_pattern(path), "up", takes, host, conditions, parse_price(price))


LARGE = condition("query", "size", "large")


@pytest.mark.parametrize(
    "routes",
    [
        [route("GET /a"), route("GET /a")],
        [route("GET /{x}"), route("GET /a")],
        [route("* /**"), route("GET,POST /a/b")],
        [route("GET /a"), route("POST /a"), route("GET,POST /a")],
        [route("GET /a"), route("HEAD /a")],
        [route("* /a"), route("* /a", "$1", LARGE)],
        [route("GET /a", "$1", LARGE), route("GET /a", "$2", LARGE)],
        [route("* /**", "free"), route("* /a", "free")],
        [route("GET /a"), route("GET /a", host="x.test")],
        [route("GET /Paid"), route("GET /paid", "free")],
        [route("GET /a", "$2"), route("GET /a/", "$1")],
    ],
    ids=lambda routes: " | ".join(each.name for each in routes),
)
def test_last_is_unreachable(routes: list[Route]) -> None:
    """Covered by what comes first, or a look-alike of a paid route."""
    assert [number for number, _ in unreachable(routes)] == [len(routes) - 1]


@pytest.mark.parametrize(
    "routes",
    [
        [route("GET /a"), route("POST /a")],
        [route("GET /a"), route("GET,POST /a")],
        [route("GET /a/b"), route("GET /a/{x}")],
        [route("GET /a", "$1", LARGE), route("GET /a")],
        [route("GET /a", host="x.test"), route("GET /a")],
        [route("* /a"), route("* /a", "free")],
        [route("GET /a"), route("GET /a/")],
        [route("GET /paid"), route("POST /Paid", "free")],
        [route("GET /free/Paid", "free"), route("GET /free/paid")],
        [route("GET /a"), route("GET /a-b", "free")],
    ],
    ids=lambda routes: " | ".join(each.name for each in routes),
)
def test_all_are_reachable(routes: list[Route]) -> None:
    """Something is left for every route."""
    assert unreachable(routes) == []


def test_the_message_names_what_covers() -> None:
    """So that the reader knows what to move."""
    assert "`GET /{x}` comes first" in unreachable([route("GET /{x}"), route("GET /a")])[0][1]
    assert (
        "look-alike of the paid route `GET /a`"
        in unreachable([route("GET /a"), route("GET /A", "free")])[0][1]
    )

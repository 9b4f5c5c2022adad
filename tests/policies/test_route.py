"""Routes and their path patterns."""

from __future__ import annotations

import pytest

from policies.condition import condition
from policies.facts import RequestFacts
from policies.money import Dollars
from policies.price import parse_price
from policies.route import BadPattern, Route, parse_pattern, with_head
from policies.target import canonical


@pytest.mark.parametrize(
    ("text", "segments", "rest"),
    [
        ("/", ("",), False),
        ("/**", (), True),
        ("/a/{id}/b", ("a", None, "b"), False),
        ("/a/", ("a", ""), False),
        ("/a/**", ("a",), True),
        ("/%61/c%c3%a9", ("a", "c%C3%A9"), False),
    ],
)
def test_patterns(text: str, segments: tuple[str | None, ...], rest: bool) -> None:
    """Literals are canonical; None is one segment of any text."""
    pattern = parse_pattern(text)
    assert (pattern.segments, pattern.rest) == (segments, rest)


@pytest.mark.parametrize(
    "text",
    [
        "a",
        "",
        "*",
        "/a/*",
        "/a*",
        "/**/a",
        "/{a}/{a}",
        "/{}",
        "/{a b}",
        "/x{a}",
        "/a}",
        "/a//b",
        "//**",
        "/a/../b",
        "/a?b=1",
        "/a b",
        "/é",
    ],
)
def test_bad_patterns(text: str) -> None:
    """What could be read in two ways is no pattern."""
    with pytest.raises(BadPattern):
        parse_pattern(text)


@pytest.mark.parametrize(
    ("one", "other", "covers"),
    [
        ("/a", "/a", True),
        ("/a", "/a/", False),
        ("/{x}", "/a", True),
        ("/{x}", "/{y}", True),
        ("/a", "/{x}", False),
        ("/{x}", "/", False),
        ("/**", "/a/{b}/**", True),
        ("/a/**", "/a", True),
        ("/a/**", "/a/", True),
        ("/a/**", "/b", False),
        ("/a/{x}", "/a/**", False),
        ("/a/{x}/**", "/a/**", False),
        ("/a/{x}/**", "/a/b/c", True),
    ],
)
def test_covers(one: str, other: str, covers: bool) -> None:
    """Whether one pattern leaves nothing of the other."""
    assert parse_pattern(one).covers(parse_pattern(other)) is covers


def test_methods() -> None:
    """GET takes HEAD, no price applies to OPTIONS, names are case-sensitive."""
    pattern = parse_pattern("/a")
    paid = Route("paid", pattern, "up", with_head(frozenset({"GET"})), price=parse_price("$1"))
    assert paid.takes("GET") and paid.takes("HEAD")
    assert not paid.takes("get") and not paid.takes("POST") and not paid.takes("OPTIONS")
    anything = Route("any", pattern, "up", price=parse_price("$1"))
    assert anything.takes("PATCH") and not anything.takes("OPTIONS")
    assert Route("free", pattern, "up").takes("OPTIONS")


def test_what_a_route_reads() -> None:
    """Whether the body is needed to match, to price, or not at all."""
    pattern = parse_pattern("/a")
    by_body = parse_price({"when": [{"body.model": "a", "price": "$2"}], "else": "$1"})
    priced = Route("priced", pattern, "up", price=by_body)
    matched = Route("matched", pattern, "up", conditions=(condition("body", "model", "a"),))
    plain = Route("plain", pattern, "up", price=parse_price("$1"))
    assert (priced.needs_body, priced.match_needs_body) == (True, False)
    assert (matched.needs_body, matched.match_needs_body, matched.free) == (True, True, True)
    assert (plain.needs_body, plain.match_needs_body, plain.free) == (False, False, False)


def test_money() -> None:
    """What a request costs on a route."""

    class NoHeaders:
        def getall(self, name: str, default: list[str], /) -> list[str]:
            return default

    facts = RequestFacts("GET", "gw.test", canonical("/a"), NoHeaders())
    assert Route("free", parse_pattern("/a"), "up").money(facts) is None
    assert isinstance(Route("paid", parse_pattern("/a"), "up", price=parse_price("$1")).money(facts), Dollars)

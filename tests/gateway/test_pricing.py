"""What a request is quoted, now and across a reload."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from multidict import CIMultiDict

from gateway.accept import Forwarded, Incoming
from gateway.errors import ClientError
from gateway.pricing import Pricing
from policies.price import parse_price
from policies.route import Route, parse_pattern
from policies.table import RouteTable
from policies.target import canonical


def incoming(target: str, method: str = "GET", **headers: str) -> Incoming:
    raw: Any = SimpleNamespace(headers=CIMultiDict(headers))
    told = Forwarded("203.0.113.9", "http", "gw.test", trusted=False)
    return Incoming(raw, method, canonical(target), "gw.test", (), told, "id")


def table(*routes: Route) -> RouteTable:
    return RouteTable(routes)


def route(path: str, price: object, **more: Any) -> Route:
    return Route(path, parse_pattern(path), "api", price=parse_price(price), accept=("x402",), **more)


def pricing(*routes: Route, grace: float = 300.0) -> Pricing:
    return Pricing(table(*routes), {"api": 30.0}, "https://api.example/", grace)


def test_the_resource_is_public_url_and_path_without_the_query() -> None:
    prices = pricing(route("/paid", "$0.01"))
    asked = incoming("/paid?secret=1")
    found = prices.route(asked, None)
    assert found is not None
    assert prices.quotes(asked, found, None)[0].resource == "https://api.example/paid"


def test_a_price_before_a_reload_stays_good_for_a_while() -> None:
    prices = pricing(route("/paid", "$0.01"))
    prices.replace(table(route("/paid", "$0.05")), {"api": 30.0})
    asked = incoming("/paid")
    found = prices.route(asked, None)
    assert found is not None
    assert [str(quote.money) for quote in prices.quotes(asked, found, None)] == ["$0.05", "$0.01"]


def test_and_then_it_is_forgotten() -> None:
    prices = pricing(route("/paid", "$0.01"), grace=0.0)
    prices.replace(table(route("/paid", "$0.05")), {"api": 30.0})
    asked = incoming("/paid")
    found = prices.route(asked, None)
    assert found is not None
    assert [str(quote.money) for quote in prices.quotes(asked, found, None)] == ["$0.05"]


def test_a_route_that_was_free_before_adds_no_quote() -> None:
    prices = pricing(Route("/x", parse_pattern("/x"), "api"))
    prices.replace(table(route("/x", "$0.05")), {"api": 30.0})
    asked = incoming("/x")
    found = prices.route(asked, None)
    assert found is not None and len(prices.quotes(asked, found, None)) == 1


def test_a_price_that_reads_the_body_waits_for_it() -> None:
    price = {"when": [{"body.size": "large", "price": "$0.05"}], "else": "$0.01"}
    prices = pricing(route("/paid", price))
    asked = incoming("/paid", "POST", **{"Content-Type": "application/json"})
    assert prices.route(asked, None) is None
    found = prices.route(asked, b'{"size": "large"}')
    assert found is not None
    assert str(prices.quotes(asked, found, b'{"size": "large"}')[0].money) == "$0.05"
    with pytest.raises(ClientError, match="ambiguous_price"):
        prices.quotes(asked, found, b'{"size": "large", "size": "small"}')


@pytest.mark.parametrize(
    ("target", "method", "code"),
    [
        ("/nowhere", "GET", "no_route"),
        ("/paid", "PUT", "method_not_allowed"),
        ("/pa%2Fid", "GET", "bad_target"),
    ],
)
def test_what_has_no_route_says_why(target: str, method: str, code: str) -> None:
    prices = pricing(route("/paid", "$0.01", methods=frozenset({"GET", "HEAD"})))
    with pytest.raises(ClientError, match=code):
        prices.route(incoming(target, method), None)


def test_a_body_is_read_once_for_matching_and_pricing() -> None:
    asked, body = incoming("/paid", "POST", **{"Content-Type": "application/json"}), b'{"size": "large"}'
    assert asked.facts(None).body is None
    assert asked.facts(body) is asked.facts(body) and asked.facts(body).document == {"size": "large"}
    assert asked.facts(b"{}").document == {}

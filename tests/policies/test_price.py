"""Prices: every form, and no way from an unclear request to a cheaper price."""

from __future__ import annotations

from decimal import Decimal

import pytest

from policies.facts import RequestFacts
from policies.money import Atomic, Dollars, Tokens
from policies.price import (
    FREE,
    AmbiguousPrice,
    Conditional,
    Price,
    PriceError,
    at_least,
    evaluate,
    explain,
    moneys,
    needs_body,
    parse_price,
)
from policies.target import canonical


class Json:
    """The headers of a JSON request."""

    def getall(self, name: str, default: list[str], /) -> list[str]:
        return ["application/json"] if name == "Content-Type" else default


def request(query: str = "", body: bytes = b"") -> RequestFacts:
    """A POST with a query and a JSON body."""
    return RequestFacts("POST", "gw.test", canonical(f"/x?{query}"), Json(), body)


def dollars(text: str) -> Dollars:
    """An amount of dollars."""
    return Dollars(Decimal(text))


@pytest.mark.parametrize(
    ("raw", "price"),
    [
        ("free", FREE),
        ("$0.01", dollars("0.01")),
        ("0.01 USDC", Tokens(Decimal("0.01"), "USDC")),
        ({"amount": "10000", "asset": "USDC"}, Atomic(10_000, "USDC")),
        ({"amount": 10000, "asset": "USDC"}, Atomic(10_000, "USDC")),
    ],
)
def test_forms(raw: object, price: Price) -> None:
    """The forms of INTERFACE section 2."""
    assert parse_price(raw) == price


MODELS = {
    "when": [{"body.model": "gpt-4*", "price": "$0.05"}, {"query.size": "large", "price": "$0.03"}],
    "else": "$0.01",
}


def test_conditional() -> None:
    """Clauses in order, each with its price."""
    price = parse_price(MODELS)
    assert isinstance(price, Conditional)
    assert moneys(price) == (dollars("0.05"), dollars("0.03"), dollars("0.01"))
    assert needs_body(price)
    assert str(price) == "$0.05 when body.model=gpt-4*; $0.03 when query.size=large; else $0.01"


@pytest.mark.parametrize(
    ("query", "body", "expected"),
    [
        ("size=small", b'{"model": "gpt-4o"}', "0.05"),
        ("", b'{"model": "gpt-4o"}', "0.05"),
        ("size=large", b'{"model": "gpt-3"}', "0.03"),
        ("size=small", b'{"model": "gpt-3"}', "0.01"),
    ],
)
def test_evaluate(query: str, body: bytes, expected: str) -> None:
    """The first clause that holds, else ``else``."""
    price = parse_price(MODELS)
    assert isinstance(price, Conditional)
    assert evaluate(price, request(query, body)) == dollars(expected)


@pytest.mark.parametrize(
    ("query", "body"),
    [
        ("size=small", b""),
        ("size=small", b"{}"),
        ("size=small", b'{"model": "a", "model": "gpt-4"}'),
        ("size=small", b'{"model": "GPT-4"}'),
        ("size=large", b"{}"),
        ("", b'{"model": "gpt-3"}'),
        ("size=small&size=large", b'{"model": "gpt-3"}'),
        ("size=small", b"model=gpt-3"),
    ],
)
def test_unclear_requests_have_no_price(query: str, body: bytes) -> None:
    """Missing or ambiguous: refused, never cheaper."""
    price = parse_price(MODELS)
    assert isinstance(price, Conditional)
    with pytest.raises(AmbiguousPrice):
        evaluate(price, request(query, body))


@pytest.mark.parametrize("query", ["", "size=small&size=large", "SIZE=small", "size=%ff"])
def test_the_dearest_else_takes_unclear_requests(query: str) -> None:
    """Nobody pays too little where the default is the dearest price."""
    price = parse_price({"when": [{"query.size": "small", "price": "$0.01"}], "else": "$0.05"})
    assert isinstance(price, Conditional)
    money, why = explain(price, request(query))
    assert money == dollars("0.05")
    assert "dearest" in why


def test_prices_of_different_kinds_are_not_compared() -> None:
    """$0.05 and 5 EURC: neither is known to be dearer."""
    price = parse_price({"when": [{"query.size": "small", "price": "$0.01"}], "else": "5 EURC"})
    assert isinstance(price, Conditional)
    with pytest.raises(AmbiguousPrice):
        evaluate(price, request())


def test_a_clause_needs_all_its_conditions() -> None:
    """One clear no decides, whatever else is unclear."""
    price = parse_price({"when": [{"query.a": "1", "query.b": "2", "price": "$0.05"}], "else": "$0.01"})
    assert isinstance(price, Conditional)
    assert evaluate(price, request("a=1&b=2")) == dollars("0.05")
    assert evaluate(price, request("b=3")) == dollars("0.01")
    with pytest.raises(AmbiguousPrice):
        evaluate(price, request("a=1"))


@pytest.mark.parametrize(
    ("raw", "at", "message"),
    [
        (None, (), "not a price"),
        (True, (), "not a price"),
        (1, (), "needs a unit"),
        (["$1"], (), "not a price"),
        ("$0", (), "zero"),
        ({}, (), "`amount` is missing"),
        ({"amount": "1"}, (), "`asset` is missing"),
        ({"amount": "0", "asset": "USDC"}, ("amount",), "zero"),
        ({"amount": True, "asset": "USDC"}, ("amount",), "whole number"),
        ({"amount": "1", "asset": "US DC"}, ("asset",), "symbol"),
        ({"amount": "1", "asset": "USDC", "x": 1}, ("x",), "unknown key"),
        ({"when": []}, (), "`else` is missing"),
        ({"else": "$1"}, (), "`when` is missing"),
        ({"when": [], "else": "$1"}, ("when",), "list of conditions"),
        ({"when": ["a"], "else": "$1"}, ("when", 0), "with a `price`"),
        ({"when": [{"price": "$1"}], "else": "$1"}, ("when", 0), "needs a condition"),
        ({"when": [{"query.a": "1", "price": "free"}], "else": "$1"}, ("when", 0, "price"), "free route"),
        ({"when": [{"query.a": "1", "price": "$0"}], "else": "$1"}, ("when", 0, "price"), "zero"),
        ({"when": [{"query.a": "1", "price": "$1"}], "else": "free"}, ("else",), "free route"),
        ({"when": [{"cookie.a": "1", "price": "$1"}], "else": "$1"}, ("when", 0, "cookie.a"), "query.NAME"),
        ({"when": [{"query.a": ["1"], "price": "$1"}], "else": "$1"}, ("when", 0, "query.a"), "must be text"),
        ({"when": [], "else": "$1", "otherwise": 1}, ("otherwise",), "unknown key"),
    ],
)
def test_errors_say_where(raw: object, at: tuple[str | int, ...], message: str) -> None:
    """The message, and the way to the offending value."""
    with pytest.raises(PriceError, match=message) as caught:
        parse_price(raw)
    assert caught.value.at == at


def test_at_least() -> None:
    """Whether one price is never below another."""
    low, high = parse_price("$0.01"), parse_price("$0.02")
    assert at_least(high, low)
    assert not at_least(low, high)
    assert at_least(low, FREE)
    assert not at_least(FREE, low)
    assert at_least(parse_price("$0.05"), parse_price(MODELS))
    assert not at_least(parse_price("$0.04"), parse_price(MODELS))

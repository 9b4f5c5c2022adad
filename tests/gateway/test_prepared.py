"""402s prepared once: whatever is filled in, what a client reads is what was meant."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import orjson
import pytest
from kit.answers import decoded

from gateway.prepared import Prepared, Preparing
from gateway.rails.base import Challenge, Quote, Refusal
from policies.money import Dollars
from policies.route import Route, parse_pattern

ROUTE = Route("a", parse_pattern("/a"), "up", accept=("one", "two"))


def quote(resource: str = "https://gw.test/a", cents: int = 1) -> Quote:
    return Quote(Dollars(Decimal(cents)), resource, "about", "text/plain", 1.0)


class TalkingRail:
    """Says what it was asked; ``gas`` may run out."""

    def __init__(self) -> None:
        self.asked = 0
        self.gas = True

    def standing(self, quote: Quote) -> object:
        return self.gas

    def challenge(self, quote: Quote, error: str) -> Challenge | None:
        self.asked += 1
        about = {"url": quote.resource, "price": str(quote.money), "error": error}
        return Challenge([(b"WAY", about)], {"accepts": [about]}) if self.gas else None


@pytest.fixture
def rails() -> dict[str, Any]:
    return {"one": TalkingRail(), "two": TalkingRail()}


def told(prepared: Prepared | None, resource: str = "https://gw.test/a") -> Any:
    assert prepared is not None
    return orjson.loads(prepared.body(resource, "id"))


def test_every_rail_is_in_one_402() -> None:
    one = Challenge([(b"A", {"x": 1})], {"accepts": [1]})
    two = Challenge([(b"B", {"y": 2})], {"more": 2}, how={"connect": "there"})
    prepared = Prepared({"x402": one, "other": two}, Refusal("payment_required", {"told": 3}))
    assert [(name, decoded(value.decode())) for name, value in prepared.documents("r")] == [
        (b"A", {"x": 1}),
        (b"B", {"y": 2}),
    ]
    assert told(prepared) == {
        "x402Version": 1,
        "error": "payment_required",
        "accepts": [1],
        "more": 2,
        "code": "payment_required",
        "request_id": "id",
        "rails": {"other": {"connect": "there"}},
        "told": 3,
    }


@pytest.mark.parametrize("resource", ["https://gw.test/a", 'https://gw.test/"\\', "https://gw.test/\u2602"])
def test_the_resource_is_filled_in_as_json(resource: str, rails: dict[str, Any]) -> None:
    prepared = Preparing(rails).find(ROUTE, quote(resource), Refusal("payment_required"))
    assert told(prepared, resource)["accepts"][0]["url"] == resource
    assert prepared is not None
    assert decoded(dict(prepared.documents(resource))[b"WAY"].decode())["url"] == resource


def test_a_rail_is_asked_once_for_each_price_and_reason(rails: dict[str, Any]) -> None:
    preparing = Preparing(rails)
    for _ in range(3):
        for cents in (1, 2):
            for reason in ("payment_required", "insufficient_funds"):
                body = told(preparing.find(ROUTE, quote(cents=cents), Refusal(reason)))
                assert (body["accepts"][0]["price"], body["error"]) == (f"${cents}", reason)
    assert rails["one"].asked == 4


def test_it_is_asked_again_when_it_has_something_else_to_say(rails: dict[str, Any]) -> None:
    preparing = Preparing(rails)
    assert preparing.find(ROUTE, quote(), Refusal("payment_required")) is not None
    rails["one"].gas = rails["two"].gas = False
    assert preparing.find(ROUTE, quote(), Refusal("payment_required")) is None
    rails["two"].gas = True
    assert preparing.find(ROUTE, quote(), Refusal("payment_required")) is not None


def test_a_reloaded_route_of_the_same_name_is_another_one(rails: dict[str, Any]) -> None:
    preparing = Preparing(rails)
    preparing.find(ROUTE, quote(), Refusal("payment_required"))
    other = Route("a", parse_pattern("/a"), "up", accept=("two",))
    assert len(told(preparing.find(other, quote(), Refusal("payment_required")))["accepts"]) == 1
    assert rails["two"].asked == 2


def test_members_of_one_refusal_are_nobody_elses(rails: dict[str, Any]) -> None:
    preparing = Preparing(rails)
    assert told(preparing.find(ROUTE, quote(), Refusal("no", {"balance": 5})))["balance"] == 5
    assert "balance" not in told(preparing.find(ROUTE, quote(), Refusal("no")))

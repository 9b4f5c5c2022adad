"""Places and hints."""

from __future__ import annotations

import pytest

from gateway.errors import ConfigError
from gateway.settings.problems import Mark, Places, Problems, did_you_mean, dotted


def test_locating() -> None:
    """At the value, at the key, or at the nearest value around what is not there."""
    places = Places("f", 0, {(): Mark(1, 1), ("a",): Mark(2, 5)}, {("a",): Mark(2, 1)})
    assert str(places.locate(("a",), "m")) == "f:2:5: a: m"
    assert str(places.locate(("a",), "m", key=True)) == "f:2:1: a: m"
    assert str(places.locate(("a", "b", 0), "m")) == "f:2:5: a.b[0]: m"
    assert str(places.locate((), "m")) == "f:1:1: m"


def test_order_and_repetition() -> None:
    """By file and line; the same thing is said once."""
    one, two = Places("one", 0, {(): Mark(9, 1)}), Places("two", 1, {(): Mark(1, 1)})
    problems = Problems()
    problems.check()
    for places in (two, one, one):
        problems.error(places, (), "m")
    with pytest.raises(ConfigError) as caught:
        problems.check()
    assert caught.value.problems == ("one:9:1: m", "two:1:1: m")


def test_what_could_not_be_had_is_not_judged() -> None:
    """One message for a variable that is not set, none for what it then is not."""
    places = Places("f", 0, broken={("a",)})
    problems = Problems()
    problems.error(places, ("a", "b"), "m")
    assert problems.errors == []


def test_concealing() -> None:
    """Values from outside, and what is below or around them."""
    places = Places("f", 0, hidden={("a", "b")})
    assert places.shown(("a", "b"), "v") == places.shown(("a", "b", 0), "v") == "the given value"
    assert places.shown(("a",), "v") == "`v`"
    assert places.conceals(("a",)) and not places.conceals(("b",))


def test_dotted() -> None:
    """As a reader would write it."""
    assert dotted(("routes", 1, "price", "when", 0)) == "routes[1].price.when[0]"
    assert dotted(()) == ""


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ("wether", " (did you mean `weather`?)"),
        ("WEATHER", " (did you mean `weather`?)"),
        ("zzz", " (known here: `llm`, `weather`)"),
    ],
)
def test_did_you_mean(given: str, hint: str) -> None:
    """What is close, or what there is."""
    assert did_you_mean(given, ["weather", "llm"]) == hint
    assert did_you_mean(given, []) == ""

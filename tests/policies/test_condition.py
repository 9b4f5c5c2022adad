"""Conditions: globs on values, and what almost matches."""

from __future__ import annotations

import pytest

from policies.condition import BadCondition, condition
from policies.facts import AMBIGUOUS, MISSING, RequestFacts, Unclear
from policies.target import canonical


class NoHeaders:
    """A request without headers."""

    def getall(self, name: str, default: list[str], /) -> list[str]:
        return default


def request(query: str) -> RequestFacts:
    """A GET with a query."""
    return RequestFacts("GET", "gw.test", canonical(f"/x?{query}"), NoHeaders(), b"")


@pytest.mark.parametrize(
    ("glob", "query", "held"),
    [
        ("gpt-4*", "m=gpt-4-turbo", True),
        ("gpt-4*", "m=gpt-3", False),
        ("large", "m=large", True),
        ("large", "m=larger", False),
        ("*", "m=", True),
        ("a.c", "m=abc", False),
        ("gpt-4*", "m=GPT-4", AMBIGUOUS),
        ("large", "m=large%20", AMBIGUOUS),
        ("large", "m=%EF%BD%8Carge", AMBIGUOUS),
        ("large", "", MISSING),
        ("large", "m=large&m=small", AMBIGUOUS),
    ],
)
def test_holds(glob: str, query: str, held: bool | Unclear) -> None:
    """Exactly, case-sensitively; what a lenient server would take for a match is ambiguous."""
    assert condition("query", "m", glob).holds(request(query)) is held


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("cookie", "a"),
        ("query", ""),
        ("headers", ""),
        ("headers", "a b"),
        ("body", ""),
        ("body", "a..b"),
        ("body", ".a"),
    ],
)
def test_bad_conditions(source: str, name: str) -> None:
    """Only query.NAME, headers.NAME and body.PATH can be read."""
    with pytest.raises(BadCondition):
        condition(source, name, "*")


def test_header_names_have_no_case() -> None:
    """Two spellings are one condition."""
    assert condition("headers", "X-Plan", "a") == condition("headers", "x-plan", "a")


def test_globs_do_not_backtrack() -> None:
    """A hostile value costs no more than a long one."""
    assert condition("query", "m", "a*a*a*a*a*a*a*a*b").holds(request("m=" + "a" * 5000)) is False

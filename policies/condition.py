"""One condition of a rule: a value of the request, compared with a glob."""

from __future__ import annotations

import fnmatch
import re
import unicodedata
from dataclasses import dataclass
from functools import cached_property

from policies.facts import AMBIGUOUS, RequestFacts, Unclear

_HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")
SOURCES = ("query", "headers", "body")


class BadCondition(ValueError):
    """A condition that cannot be read; the message says why, without a location."""


@dataclass(frozen=True)
class Condition:
    """``source`` is ``query``, ``headers`` or ``body``; ``name`` a parameter, field or dotted JSON path."""

    source: str
    name: str
    glob: str

    def __str__(self) -> str:
        return f"{self.source}.{self.name}={self.glob}"

    @property
    def needs_body(self) -> bool:
        """Whether it reads the request body."""
        return self.source == "body"

    def holds(self, facts: RequestFacts) -> bool | Unclear:
        """Whether the request's value matches; Unclear where it has none, or more than one meaning."""
        value = self._value(facts)
        if isinstance(value, Unclear):
            return value
        if self._exact.match(value):
            return True
        # A server that ignores case or surrounding space would read it as a match.
        return AMBIGUOUS if self._loose.match(_folded(value)) else False

    def _value(self, facts: RequestFacts) -> str | Unclear:
        if self.source == "query":
            return facts.query(self.name)
        if self.source == "headers":
            return facts.header(self.name)
        return facts.json(self.name.split("."))

    @cached_property
    def _exact(self) -> re.Pattern[str]:
        return re.compile(fnmatch.translate(self.glob))

    @cached_property
    def _loose(self) -> re.Pattern[str]:
        return re.compile(fnmatch.translate(_folded(self.glob)))


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold().strip()


def condition(source: str, name: str, glob: str) -> Condition:
    """A checked Condition; header names compare without case. BadCondition says what is wrong."""
    if source not in SOURCES:
        raise BadCondition("a condition reads query.NAME, headers.NAME or body.PATH")
    if not name:
        raise BadCondition(f"a condition on {source} needs a name")
    if source == "headers" and not _HEADER_NAME.match(name):
        raise BadCondition("not a header field name")
    if source == "body" and "" in name.split("."):
        raise BadCondition("not a dotted JSON path")
    return Condition(source, name.lower() if source == "headers" else name, glob)

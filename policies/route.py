"""One route: which requests it takes, where they go and what they cost."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from policies.condition import Condition
from policies.facts import RequestFacts
from policies.money import Money
from policies.price import FREE, Free, Price, evaluate, needs_body
from policies.target import BadTarget, canonical

SUCCESS = frozenset(range(200, 300))
"""Statuses that are paid for unless a route says otherwise."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_UNCHARGED = frozenset({"OPTIONS"})
"""Methods a price never applies to: browsers send them without being asked."""


class BadPattern(ValueError):
    """A path pattern that cannot be read; the message says why, without a location."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """``segments`` holds a canonical literal or None (one segment of any text, never empty)."""

    text: str
    segments: tuple[str | None, ...]
    rest: bool = False
    """Whether any depth may follow, and nothing at all too."""
    encoded: frozenset[str] = frozenset()
    """Opt-in escapes its literals use."""

    def covers(self, other: Pattern) -> bool:
        """Whether every path of ``other`` is one of this pattern's too."""
        mine, theirs = self.segments, other.segments
        if len(theirs) < len(mine) or (not self.rest and (other.rest or len(theirs) != len(mine))):
            return False
        return all(_covers(own, their) for own, their in zip(mine, theirs, strict=False))


def _covers(own: str | None, their: str | None) -> bool:
    return their != "" if own is None else own == their


def parse_pattern(text: str) -> Pattern:
    """Read ``/a/{name}/**``; BadPattern for what is not one."""
    if not text.startswith("/"):
        raise BadPattern("a path starts with /")
    parts = text[1:].split("/")
    rest = parts[-1] == "**"
    named = parts[:-1] if rest else parts
    literals, encoded = _canonical_literals(["x" if _is_name(part) else part for part in named], rest)
    segments = tuple(None if _is_name(part) else own for part, own in zip(named, literals, strict=True))
    names = [part for part in named if _is_name(part)]
    if len(set(names)) != len(names):
        raise BadPattern("a {name} is used twice")
    return Pattern(text, segments, rest, encoded)


def _is_name(part: str) -> bool:
    if part.startswith("{") and part.endswith("}"):
        if not _NAME.match(part[1:-1]):
            raise BadPattern("a {name} is letters, digits and _")
        return True
    if "*" in part:
        raise BadPattern("`*` only stands as a last `**`; one segment of any text is {name}")
    if "{" in part or "}" in part:
        raise BadPattern("a {name} is a whole segment")
    return False


def _canonical_literals(parts: list[str], rest: bool) -> tuple[tuple[str, ...], frozenset[str]]:
    """The canonical form of literal segments, and the opt-in escapes they use."""
    path = "/" + "/".join([*parts, "x"] if rest else parts)
    if "?" in path:
        raise BadPattern("a path has no query: compare that with `match: {path, query}`")
    try:
        target = canonical(path)
    except BadTarget as error:
        raise BadPattern(str(error)) from error
    return target.segments[: len(parts)], target.encoded


def with_head(methods: frozenset[str]) -> frozenset[str]:
    """A GET route also takes HEAD, at the same price."""
    return methods | {"HEAD"} if "GET" in methods else methods


@dataclass(frozen=True, slots=True)
class Exposure:
    """Most that may be served and not settled, in millionths of a dollar."""

    per_payer: int
    total: int


@dataclass(frozen=True, slots=True)
class Terms:
    """What a route asks for on x402, where that is its own. Networks go by their configured names."""

    pay_to: tuple[tuple[str, str], ...] = ()
    """Receivers by network."""
    accepts: tuple[tuple[str, Money], ...] = ()
    """The ways to pay in their order: network and amount; empty: the route's price on every network."""


@dataclass(frozen=True, slots=True)
class Metering:
    """How the use of a route is counted, for rails that charge what was used."""

    kind: str
    """``openai``, ``anthropic``, ``gemini``: from the answer; ``flat``: the same for every request."""
    model: str | None = None
    """What it is charged as, whatever request and answer name."""
    input_tokens: int = 0
    output_tokens: int = 0
    ask_usage: bool = False
    """Ask streams for their usage where the client did not."""


@dataclass(frozen=True)
class Route:
    """A compiled route; times in seconds."""

    name: str
    pattern: Pattern
    upstream: str
    methods: frozenset[str] | None = None
    """None: any method. GET includes HEAD."""
    host: str | None = None
    """Lower-case name, with a port only where the route names one."""
    conditions: tuple[Condition, ...] = ()
    price: Price = FREE
    accept: tuple[str, ...] = ()
    """Names of the rails that can pay for it, in order."""
    settle: str = "after"
    """``after``, ``before`` or ``deferred``: when its payments are settled."""
    exposure: Exposure | None = None
    """What ``deferred`` may put at risk here, where the route says so itself."""
    settle_lost: bool = False
    """``on_lost_answer: settle``: an answer that was lost with the gateway is paid for all the same."""
    success: frozenset[int] = SUCCESS
    max_attempts: int = 5
    allow_encoded: frozenset[str] = frozenset()
    description: str = ""
    mime_type: str = ""
    timeout: float | None = None
    """None: the upstream's."""
    metering: Metering | None = None
    terms: Terms | None = None
    free: bool = field(init=False)
    needs_body: bool = field(init=False)
    """Whether matching or pricing it reads the request body."""
    match_needs_body: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "free", isinstance(self.price, Free))
        object.__setattr__(self, "match_needs_body", any(each.needs_body for each in self.conditions))
        object.__setattr__(self, "needs_body", self.match_needs_body or needs_body(self.price))

    def takes(self, method: str) -> bool:
        """Whether a request with this method can be this route's."""
        if not self.free and method in _UNCHARGED:
            return False
        return self.methods is None or method in self.methods

    def covers(self, other: Route, method: str) -> bool:
        """Whether this route, standing first, leaves ``other`` no request with ``method``."""
        return (
            self.takes(method)
            and self.host in (None, other.host)
            and set(self.conditions) <= set(other.conditions)
            and self.pattern.covers(other.pattern)
        )

    def money(self, facts: RequestFacts) -> Money | None:
        """What a request costs here, None on a free route; AmbiguousPrice where it does not say."""
        return None if isinstance(self.price, Free) else evaluate(self.price, facts)

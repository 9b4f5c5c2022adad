"""The trie: every pattern that takes a path, cheaply."""

from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st

from policies.route import Pattern, parse_pattern
from policies.trie import Trie

PATTERNS = ["/", "/a", "/a/", "/{x}", "/a/{x}", "/a/b", "/a/**", "/**", "/{x}/b/**", "/a/{x}/c"]


def naive(pattern: Pattern, segments: list[str]) -> bool:
    """A pattern's meaning, written down as plainly as possible."""
    own = pattern.segments
    if len(segments) < len(own) or (len(segments) > len(own) and not pattern.rest):
        return False
    pairs = zip(own, segments, strict=False)
    return all(segment != "" if wanted is None else segment == wanted for wanted, segment in pairs)


@given(st.lists(st.sampled_from(["a", "b", "c", ""]), min_size=1, max_size=4))
def test_agrees_with_the_plain_meaning(segments: list[str]) -> None:
    """Every pattern that matches, in order, and no other."""
    patterns = [parse_pattern(text) for text in PATTERNS]
    trie = Trie(enumerate(patterns))
    assert trie.find(segments) == [number for number, each in enumerate(patterns) if naive(each, segments)]


def test_folded_literals_match_with_suffixes() -> None:
    """The loose trie also takes what a server may cut off."""
    trie = Trie([(0, parse_pattern("/Paid/Item")), (1, parse_pattern("/paid/tree/**"))], folded=True)
    assert trie.find(["paid", "item.json"]) == [0]
    assert trie.find(["paid.", "item"]) == [0]
    assert trie.find(["paid", "items"]) == []
    assert trie.find(["paid", "tree;x", "y"]) == [1]


def test_a_folded_trailing_slash_is_no_segment() -> None:
    """Loose paths have no empty segments, so loose patterns have none either."""
    assert Trie([(0, parse_pattern("/a/"))], folded=True).find(["a"]) == [0]


def test_time_is_bounded_by_the_patterns() -> None:
    """No path makes the walk branch more often than there are patterns."""
    texts = ["/".join("a" if i >> k & 1 else f"{{p{k}}}" for k in range(8)) for i in range(256)]
    patterns = [parse_pattern(f"/{text}") for text in texts]
    trie = Trie(enumerate(patterns), folded=True)
    started = time.perf_counter()
    assert len(trie.find(["a"] * 8)) == 256
    trie.find(["a"] * 20_000)
    trie.find(["a." * 10_000] * 8)
    assert time.perf_counter() - started < 1

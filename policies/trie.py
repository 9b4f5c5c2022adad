"""Path patterns compiled to a trie: every pattern that takes a path, in one walk without backtracking.

A node is reached by one way only, so a walk visits no node twice: its cost is bounded by the
number of patterns, whatever the path.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from policies.lookalike import SUFFIXES, literal
from policies.route import Pattern


@dataclass(slots=True)
class Node:
    """What follows one prefix; numbers are positions in the route table."""

    literals: dict[str, Node] = field(default_factory=dict)
    lengths: list[int] = field(default_factory=list)
    """Distinct lengths of the literals: where a longer segment may be cut."""
    named: Node | None = None
    ends: list[int] = field(default_factory=list)
    rests: list[int] = field(default_factory=list)


class Trie:
    """Patterns by number. ``folded``: literals in their loose form, matched as look-alikes are."""

    def __init__(self, patterns: Iterable[tuple[int, Pattern]], *, folded: bool = False) -> None:
        self._root = Node()
        self._folded = folded
        for number, pattern in patterns:
            self._add(number, pattern)

    def _add(self, number: int, pattern: Pattern) -> None:
        node = self._root
        for segment in pattern.segments:
            node = self._child(node, segment)
        (node.rests if pattern.rest else node.ends).append(number)

    def _child(self, node: Node, segment: str | None) -> Node:
        if segment is None:
            node.named = node.named or Node()
            return node.named
        key = literal(segment) if self._folded else segment
        if self._folded and not key:
            return node
        if len(key) not in node.lengths:
            node.lengths.append(len(key))
        return node.literals.setdefault(key, Node())

    def find(self, segments: Sequence[str]) -> list[int]:
        """The numbers of all patterns that take these segments, in order."""
        found: list[int] = []
        level = [self._root]
        for segment in segments:
            following: list[Node] = []
            for node in level:
                found += node.rests
                following += self._next(node, segment)
            level = following
            if not level:
                break
        for node in level:
            found += node.rests
            found += node.ends
        return sorted(found)

    def _next(self, node: Node, segment: str) -> list[Node]:
        following = [node.named] if node.named is not None and segment else []
        exact = node.literals.get(segment)
        if exact is not None:
            following.append(exact)
        if self._folded:
            following += self._cut(node, segment)
        return following

    def _cut(self, node: Node, segment: str) -> list[Node]:
        """Literals that ``segment`` continues with something a server may drop."""
        return [
            node.literals[segment[:length]]
            for length in node.lengths
            if length < len(segment) and segment[length] in SUFFIXES and segment[:length] in node.literals
        ]

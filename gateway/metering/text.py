"""Tokens estimated from text: a token for every four characters, rounded up."""

from __future__ import annotations

import re
from collections.abc import Iterable

CHARACTERS = 4
"""Characters one token stands for where nobody counted."""

_SPOKEN = frozenset(
    {
        *("content", "text", "refusal", "delta", "arguments"),
        *("reasoning", "reasoning_content", "thinking", "partial_json"),
    }
)
"""Keys of what a model says; everything else in an answer is about it."""
_WHOLE = frozenset({"args", "input"})
"""Keys of what a model hands to a tool as JSON: all of it is said."""


_EMBEDDED = re.compile(r"data:[^,\s]{0,99};base64,")


def tokens(characters: int) -> int:
    """The estimate for that many characters."""
    return -(-characters // CHARACTERS)


def characters(value: object) -> int:
    """Characters of all text in a JSON value. A number is a token (prompts may come as tokens);
    what is data in base64 is no text."""
    count = 0
    pending = [value]
    while pending:
        each = pending.pop()
        if isinstance(each, str):
            count += 0 if _EMBEDDED.match(each) else len(each)
        elif isinstance(each, dict):
            pending += (inner for key, inner in each.items() if key != "data")
        elif isinstance(each, list):
            pending += each
        elif isinstance(each, int):
            count += CHARACTERS
    return count


def spoken(element: dict[str, object], roots: Iterable[str]) -> int:
    """Characters a model said in the parts of an element that ``roots`` name."""
    count = 0
    pending = [(root, element[root]) for root in roots if root in element]
    while pending:
        key, value = pending.pop()
        if isinstance(value, list):
            pending += ((key, inner) for inner in value)
        elif key in _WHOLE:
            count += characters(value)
        elif isinstance(value, dict):
            pending += value.items()
        elif isinstance(value, str) and key in _SPOKEN:
            count += len(value)
    return count

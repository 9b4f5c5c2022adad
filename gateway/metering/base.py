"""What is metered, and what comes of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

KINDS = ("openai", "anthropic", "gemini")
"""Whose answers can be read."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What one answer used."""

    model: str
    """Empty where neither the answer nor the request names one."""
    input_tokens: int
    output_tokens: int
    estimated: bool
    """True when any part was estimated."""


@dataclass(frozen=True, slots=True)
class Metered:
    """The request's side of a metered answer."""

    kind: str
    """One of :data:`KINDS`."""
    path: str
    """The canonical path; Gemini names its model there."""
    body: bytes
    model: str | None = None
    """A configured name, which replaces whatever was read."""
    ask_usage: bool = False
    """Opted in: OpenAI's chat streams are asked for their usage."""


class Meter(Protocol):
    """Reads one answer, in whatever pieces it comes."""

    def feed(self, chunk: bytes) -> bytes:
        """What to pass on: the chunk itself, unless the gateway asked for the usage event and swallows it.
        Empty then means: nothing yet."""

    def end(self) -> bytes:
        """What was withheld and must be passed on now that the answer is over (or broke off)."""

    def usage(self) -> Usage:
        """What was counted so far; at any time, so also for a client that hung up."""

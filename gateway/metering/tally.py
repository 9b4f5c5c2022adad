"""What an answer has said so far about its model and its tokens.

Numbers replace earlier ones, never add to them: every vendor's counts are cumulative. What was said
after the last count is remembered in characters, so that a stream that broke off is charged for it.
"""

from __future__ import annotations

from typing import ClassVar

from gateway.metering.text import spoken, tokens

MOST = 128 * 1024
"""Tokens an estimate says at most: no model puts out more in one answer, so larger ones were not text."""
_EXACT = 2**53
"""Past this a JSON number is not what was written."""
_LONGEST = 256
"""Characters of a model's name."""
_QUIET = ("/embeddings", ":embedContent", ":batchEmbedContents")
"""Ends of paths whose answers are numbers: no tokens are put out."""


class Tally:
    """Counts of one answer, read element by element: a whole JSON answer, or one event of a stream."""

    said_in: ClassVar[tuple[str, ...]] = ()
    """Keys of an element under which the model speaks."""

    def __init__(self, path: str) -> None:
        self.model = ""
        self.input: int | None = None
        self.output: int | None = None
        self.uncounted = 0
        """Characters put out since ``output`` was last set."""
        self._quiet = path.endswith(_QUIET)
        if self._quiet:
            self.output = 0
        self._latest: dict[str, int] = {}

    def read(self, element: object) -> None:
        """Take in one element; what is no object or of no known shape says nothing."""
        if isinstance(element, dict):
            self.heard(spoken(element, self.said_in))
            self._read(element)

    def heard(self, length: int) -> None:
        """So many characters were put out; for what could not be read, its bytes."""
        if not self._quiet:
            self.uncounted += length

    def put_out(self) -> int:
        """Output tokens: what was counted, and an estimate of what came after."""
        return (self.output or 0) + min(tokens(self.uncounted), MOST)

    @property
    def estimated(self) -> bool:
        """Whether the output is not, or not wholly, what the upstream counted."""
        return self.output is None or self.uncounted > 0

    def _read(self, element: dict[str, object]) -> None:
        raise NotImplementedError

    def _named(self, name: object) -> None:
        """The first real name stays: Azure begins its streams with an empty one."""
        if not self.model:
            self.model = model_name(name)

    def _note(self, usage: dict[str, object], *names: str) -> None:
        """Keep the latest of each count that vendors split up."""
        for name in names:
            if (count := number(usage, name)) is not None:
                self._latest[name] = count

    def _sum(self, *names: str) -> int:
        return sum(self._latest.get(name, 0) for name in names)

    def _counted(self, output: int | None) -> None:
        if output is not None:
            self.output = output
            self.uncounted = 0


def model_name(value: object) -> str:
    """A name that can be one, or an empty string."""
    return value if isinstance(value, str) and len(value) <= _LONGEST else ""


def table(element: dict[str, object], key: str) -> dict[str, object]:
    """The object under a key; empty where there is none."""
    value = element.get(key)
    return value if isinstance(value, dict) else {}


def number(usage: dict[str, object], *names: str) -> int | None:
    """The first of these counts that is one."""
    for name in names:
        value = usage.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _EXACT:
            return value
    return None

"""Located problems: every one is found before any is reported."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from gateway.errors import ConfigError

Key = str | int
Path = tuple[Key, ...]


@dataclass(frozen=True, slots=True, order=True)
class Mark:
    """A place in a file; both numbers start at 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True, order=True)
class Located:
    """One message with its place; ``order`` is the file's place among the files read."""

    order: int
    mark: Mark
    file: str
    path: str
    message: str

    def __str__(self) -> str:
        subject = f"{self.path}: " if self.path else ""
        return f"{self.file}:{self.mark.line}:{self.mark.column}: {subject}{self.message}"


@dataclass(slots=True)
class Places:
    """Where every key and value of one file stands, and what must not be shown of it."""

    file: str
    order: int
    values: dict[Path, Mark] = field(default_factory=dict)
    keys: dict[Path, Mark] = field(default_factory=dict)
    hidden: set[Path] = field(default_factory=set)
    """Values that came from the environment or a file: never echoed."""
    broken: set[Path] = field(default_factory=set)
    """Values that could not be had at all: said once, not judged any further."""

    def locate(self, path: Path, message: str, *, key: bool = False) -> Located:
        """The message at a value (or its key), or at the nearest value around one that is not there."""
        mark = self.keys.get(path) if key else None
        near = path
        while mark is None and near:
            mark = self.values.get(near)
            near = near[:-1]
        return Located(self.order, mark or self.values.get((), Mark(1, 1)), self.file, dotted(path), message)

    def shown(self, path: Path, value: str) -> str:
        """``value`` for a message, unless it may be a secret."""
        around = any(path[:length] in self.hidden for length in range(1, len(path) + 1))
        return "the given value" if around else f"`{value}`"

    def conceals(self, path: Path) -> bool:
        """Whether anything in a value must not be shown."""
        return any(each[: len(path)] == path for each in self.hidden)


@dataclass(slots=True)
class Problems:
    """Collects what is wrong, and what is only doubtful."""

    errors: list[Located] = field(default_factory=list)
    warnings: list[Located] = field(default_factory=list)

    def error(self, places: Places, path: Path, message: str, *, key: bool = False) -> None:
        """Note what must be changed before anything starts."""
        if not any(path[:length] in places.broken for length in range(1, len(path) + 1)):
            self.errors.append(places.locate(path, message, key=key))

    def warn(self, places: Places, path: Path, message: str) -> None:
        """Note what an operator should know."""
        self.warnings.append(places.locate(path, message))

    def check(self) -> None:
        """ConfigError with every error so far, in the order of the files."""
        if self.errors:
            raise ConfigError([str(each) for each in sorted(set(self.errors))])


def dotted(path: Path) -> str:
    """``routes[1].price``"""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """`` (did you mean ...?)`` for what is close, or the few names there are, or nothing."""
    names = sorted(set(known))
    close = difflib.get_close_matches(given.lower(), [name.lower() for name in names], n=1, cutoff=0.6)
    if close:
        best = next(name for name in names if name.lower() == close[0])
        return f" (did you mean `{best}`?)"
    return f" (known here: {listed(names)})" if 0 < len(names) <= 8 else ""


def listed(names: Sequence[str]) -> str:
    """Names for a message."""
    return ", ".join(f"`{name}`" for name in names)

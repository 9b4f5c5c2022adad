"""``${VAR}``, ``${VAR:-default}``, ``${VAR:?message}`` and ``${file:/path}`` in configuration values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

_REFERENCE = re.compile(r"\$\{([^{}]*)\}")
_VARIABLE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?:(:-|:\?)(.*))?\Z", re.DOTALL)
_MAX_FILE = 64 * 1024


class CannotExpand(ValueError):
    """A reference that has no value; the message names the reference, never a value."""


class Expanded(str):
    """Text that came from outside the file, at least in part."""

    __slots__ = ()


@dataclass(slots=True)
class Expander:
    """Where references are looked up. ``files`` collects the files a value was read from."""

    environ: Mapping[str, str]
    base: Path
    """What relative file names are relative to: the configuration file's directory."""
    files: list[Path] = field(default_factory=list)

    def expand(self, text: str) -> str:
        """``text`` with every reference replaced; CannotExpand where one has no value."""
        if "${" not in text:
            return text
        if text.count("${") != len(_REFERENCE.findall(text)):
            raise CannotExpand("`${` is not closed, or nested: write ${NAME} or ${file:/path}")
        return Expanded(_REFERENCE.sub(lambda match: self._value(match[1]), text))

    def _value(self, reference: str) -> str:
        if reference.startswith("file:"):
            return self._file(reference.removeprefix("file:"))
        match = _VARIABLE.match(reference)
        if not match:
            raise CannotExpand(f"`${{{reference}}}` is not ${{NAME}}, ${{NAME:-default}} or ${{file:/path}}")
        name, operator, rest = match.groups()
        value = self.environ.get(name)
        if operator is None:
            if value is None:
                raise CannotExpand(f"the environment variable {name} is not set")
            return value
        if value:
            return value
        if operator == ":-":
            return str(rest)
        raise CannotExpand(rest or f"the environment variable {name} is not set")

    def _file(self, name: str) -> str:
        path = self.base / name
        try:
            with path.open("rb") as stream:
                content = stream.read(_MAX_FILE + 1)
            text = content.decode("utf-8")
        except OSError as error:
            raise CannotExpand(f"the file {name} cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise CannotExpand(f"the file {name} is not UTF-8 text") from error
        if len(content) > _MAX_FILE:
            raise CannotExpand(f"the file {name} is larger than {_MAX_FILE} bytes")
        self.files.append(path)
        return text.removesuffix("\n").removesuffix("\r")

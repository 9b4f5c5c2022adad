"""YAML with places, and with as little magic as an operator expects.

Only ``true``, ``false``, ``null`` and plain decimal integers are anything but text: an unquoted
``0x..`` address, ``no``, ``0.010`` or a date stays what was written. Duplicate keys, aliases, tags
and second documents are errors.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path as File

import yaml
from yaml.composer import Composer
from yaml.events import AliasEvent
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from yaml.parser import Parser
from yaml.reader import Reader, ReaderError
from yaml.resolver import BaseResolver
from yaml.scanner import Scanner

from gateway.settings.expand import CannotExpand, Expander
from gateway.settings.problems import Mark, Path, Places, Problems

_TAG = "tag:yaml.org,2002:"
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,18})\Z")
_MAX_DEPTH = 50
_MAX_SIZE = 4 * 1024 * 1024


class _Resolver(BaseResolver):
    """Text, except for the few plain scalars that are not."""


_Resolver.add_implicit_resolver(_TAG + "bool", re.compile(r"(?:true|false)\Z"), ["t", "f"])
_Resolver.add_implicit_resolver(_TAG + "null", re.compile(r"(?:null)?\Z"), ["n", ""])
_Resolver.add_implicit_resolver(_TAG + "int", _INTEGER, list("-0123456789"))


class _Composer(Reader, Scanner, Parser, Composer, _Resolver):
    """Text to nodes; nothing is constructed from tags."""

    def __init__(self, text: str) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)
        Composer.__init__(self)
        _Resolver.__init__(self)
        self._depth = 0

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        if self.check_event(AliasEvent):
            raise _problem("aliases (`*name`) are not supported: write the value out", mark)
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise _problem("nested too deeply", mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


def _problem(message: str, mark: object) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=message, problem_mark=mark)  # type: ignore[arg-type]


@dataclass(slots=True)
class Document:
    """One file's data with the places of everything in it."""

    data: object
    places: Places
    sources: dict[Path, list[File]] = field(default_factory=dict)
    """The files that values were read from by ``${file:...}``."""

    def at(self, path: Path) -> object:
        """The value at a path; None where there is none."""
        value = self.data
        for part in path:
            if isinstance(value, dict):
                value = value.get(part)
            elif isinstance(value, list) and isinstance(part, int) and part < len(value):
                value = value[part]
            else:
                return None
        return value


def read(
    file: File, shown_as: str, order: int, environ: Mapping[str, str], problems: Problems
) -> Document | None:
    """The file's document, or None after noting why there is none. ``shown_as`` names it in messages."""
    places = Places(shown_as, order)
    try:
        text = _text(file)
        node = _Composer(text).get_single_node()
    except _Unreadable as error:
        places.values[()] = error.mark
        problems.error(places, (), str(error))
        return None
    except ReaderError as error:
        places.values[()] = _mark_of(text, error.position)
        problems.error(places, (), "holds a character that is not allowed in YAML")
        return None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        places.values[()] = Mark(mark.line + 1, mark.column + 1) if mark else Mark(1, 1)
        problems.error(places, (), f"not valid YAML: {error.problem or error.context}")
        return None
    builder = _Builder(places, Expander(environ, file.parent), problems)
    document = Document(None, places, builder.sources)
    document.data = None if node is None else builder.build(node, ())
    return document


def read_mapping(
    data: Mapping[str, object], environ: Mapping[str, str], base: File, problems: Problems
) -> Document:
    """A document that never was a file: its values go by their paths only. ``base`` as of a file's folder."""
    builder = _Builder(Places("mapping", 0), Expander(environ, base), problems)
    document = Document(None, builder.places, builder.sources)
    document.data = builder.take(data, ())
    return document


class _Unreadable(Exception):
    """The file cannot be had, or not as text."""

    def __init__(self, message: str, mark: Mark | None = None) -> None:
        super().__init__(message)
        self.mark = mark or Mark(1, 1)


def _text(file: File) -> str:
    try:
        with file.open("rb") as stream:
            content = stream.read(_MAX_SIZE + 1)
    except OSError as error:
        raise _Unreadable(f"cannot be read: {error.strerror}") from error
    if len(content) > _MAX_SIZE:
        raise _Unreadable(f"is larger than {_MAX_SIZE} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8", "replace")
        raise _Unreadable("is not UTF-8 text", _mark_of(before, len(before))) from error


def _mark_of(text: str, position: int) -> Mark:
    before = text[:position]
    return Mark(before.count("\n") + 1, position - before.rfind("\n"))


def _mark(node: Node) -> Mark:
    return Mark(node.start_mark.line + 1, node.start_mark.column + 1)


@dataclass(slots=True)
class _Builder:
    """Nodes to plain data; notes every place, expands every scalar."""

    places: Places
    expander: Expander
    problems: Problems
    sources: dict[Path, list[File]] = field(default_factory=dict)

    def build(self, node: Node, path: Path) -> object:
        self.places.values[path] = _mark(node)
        if not isinstance(node, ScalarNode) and not str(node.tag).startswith(_TAG):
            self._refuse_tag(path)
        if isinstance(node, MappingNode):
            return self._mapping(node, path)
        if isinstance(node, SequenceNode):
            return [self.build(each, (*path, index)) for index, each in enumerate(node.value)]
        return self._scalar(node, path)

    def take(self, value: object, path: Path) -> object:
        """Plain data as if it had been written down; only what YAML could say here."""
        self.places.values[path] = Mark(1, 1)
        if isinstance(value, Mapping):
            return {str(key): self.take(each, (*path, str(key))) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [self.take(each, (*path, index)) for index, each in enumerate(value)]
        if isinstance(value, str):
            return self._expanded(value, path)
        if value is not None and not isinstance(value, int):
            self.problems.error(self.places, path, "must be text, a whole number, true, false or null")
        return value

    def _mapping(self, node: MappingNode, path: Path) -> dict[str, object]:
        found: dict[str, object] = {}
        for key_node, value_node in node.value:
            key = self._key(key_node, path)
            if key is None:
                continue
            where = (*path, key)
            if key in found:
                first = self.places.keys[where]
                self.places.keys[where] = _mark(key_node)
                self.problems.error(
                    self.places, where, f"duplicate key (first on line {first.line})", key=True
                )
                continue
            self.places.keys[where] = _mark(key_node)
            found[key] = self.build(value_node, where)
        return found

    def _key(self, node: Node, path: Path) -> str | None:
        if isinstance(node, ScalarNode):
            if node.value == "<<":
                self._error(node, path, "merge keys (`<<`) are not supported: write the values out")
                return None
            return str(node.value)
        self._error(node, path, "a key must be plain text")
        return None

    def _error(self, node: Node, path: Path, message: str) -> None:
        places = Places(self.places.file, self.places.order, {path: _mark(node)})
        self.problems.error(places, path, message)

    def _refuse_tag(self, path: Path) -> None:
        self.problems.error(self.places, path, "tags (`!...`) are not supported")

    def _scalar(self, node: Node, path: Path) -> object:
        text = str(node.value)
        kind = str(node.tag).removeprefix(_TAG)
        if kind == "bool" and text in ("true", "false"):
            return text == "true"
        if kind == "null" and text in ("null", ""):
            return None
        if kind == "int" and _INTEGER.match(text):
            return int(text)
        if kind != "str":
            self._refuse_tag(path)
        return self._expanded(text, path)

    def _expanded(self, text: str, path: Path) -> str:
        known = len(self.expander.files)
        try:
            expanded = self.expander.expand(text)
        except CannotExpand as error:
            self.problems.error(self.places, path, str(error))
            self.places.broken.add(path)
            return text
        if expanded is not text:
            self.places.hidden.add(path)
            self.sources[path] = self.expander.files[known:]
        return expanded

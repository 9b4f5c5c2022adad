"""Planting a bug: a piece of a function's source is replaced, in memory, for a while."""

from __future__ import annotations
import __future__

import importlib
import inspect
import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import Any

_OURS = ("gateway.", "facilitator.", "simulation.")


@dataclass(frozen=True)
class Edit:
    """In ``module``, in the function ``name`` (``Class.method``, or a number), ``old`` becomes ``new``."""

    module: str
    name: str
    old: str
    new: str

    @property
    def place(self) -> tuple[str, str]:
        """What is edited."""
        return self.module, self.name


@contextmanager
def planted(edits: Sequence[Edit]) -> Iterator[None]:
    """All of them; ValueError unless each function has each ``old`` exactly once."""
    undo: list[tuple[Any, str, Any]] = []
    try:
        for _, several in groupby(edits, lambda edit: edit.place):
            _apply(list(several), undo)
        yield
    finally:
        for owner, name, before in reversed(undo):
            setattr(owner, name, before)


def _apply(edits: Sequence[Edit], undo: list[tuple[Any, str, Any]]) -> None:
    owner: Any = importlib.import_module(edits[0].module)
    *path, last = edits[0].name.split(".")
    for part in path:
        owner = getattr(owner, part)
    before = inspect.getattr_static(owner, last)
    after = _changed(before, edits)
    places = [(owner, last)]
    if not path and inspect.isfunction(before):
        # Other modules may have imported it by its name.
        ours = [module for name, module in list(sys.modules.items()) if name.startswith(_OURS)]
        places = [(module, last) for module in ours if getattr(module, last, None) is before]
    for where, name in places:
        undo.append((where, name, before))
        setattr(where, name, after)


def _changed(before: Any, edits: Sequence[Edit]) -> Any:
    if isinstance(before, int | float):
        return type(before)(edits[0].new)
    function = before.fget if isinstance(before, property) else inspect.unwrap(before)
    source = textwrap.dedent(inspect.getsource(function))
    for edit in edits:
        if source.count(edit.old) != 1:
            raise ValueError(f"{edit.place} has {source.count(edit.old)} times: {edit.old}")
        source = source.replace(edit.old, edit.new)
    code = compile(source, f"<{function.__name__}>", "exec", __future__.annotations.compiler_flag)
    space: dict[str, Any] = {}
    exec(code, function.__globals__, space)
    return space[function.__name__]

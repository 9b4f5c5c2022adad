"""Planting a bug: a piece of a function's source is replaced, in memory, for a while."""

from __future__ import annotations

import __future__
import importlib
import inspect
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Edit:
    """In ``module``, in the function ``name`` (``Class.method``, or a constant), ``old`` becomes ``new``."""

    module: str
    name: str
    old: str
    new: str

    @contextmanager
    def applied(self) -> Iterator[None]:
        """ValueError unless the function has ``old`` exactly once."""
        owner: Any = importlib.import_module(self.module)
        *path, last = self.name.split(".")
        for part in path:
            owner = getattr(owner, part)
        before = inspect.getattr_static(owner, last)
        setattr(owner, last, self._changed(before))
        try:
            yield
        finally:
            setattr(owner, last, before)

    def _changed(self, before: Any) -> Any:
        if isinstance(before, int | float | frozenset):
            return eval(self.new)
        function = before.fget if isinstance(before, property) else inspect.unwrap(before)
        source = textwrap.dedent(inspect.getsource(function))
        if source.count(self.old) != 1:
            raise ValueError(f"{self.module}.{self.name} has {source.count(self.old)} times: {self.old}")
        flags = __future__.annotations.compiler_flag
        code = compile(source.replace(self.old, self.new), f"<{self.name}>", "exec", flags)
        space: dict[str, Any] = {}
        exec(code, function.__globals__, space)
        return space[function.__name__]


@contextmanager
def planted(edits: Sequence[Edit]) -> Iterator[None]:
    """All of them."""
    with ExitStack() as stack:
        for edit in edits:
            stack.enter_context(edit.applied())
        yield

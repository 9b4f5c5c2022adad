"""The Lua scripts, each with what it uses of the common ones in front.

Redis keeps nothing between two scripts, so every definition is made anew whenever one runs. A short
script spends most of its time on that: it is given only the definitions that it names.
"""

from __future__ import annotations

import hashlib
import re
from importlib.resources import files
from typing import NamedTuple

from gateway.payment import OWED, READY, REDEEMABLE, TAKEN_UP_AGAIN, TO_SETTLE
from gateway.store.record import (
    ABANDONED_MS,
    INSTANCE_KEPT_MS,
    LOSS_KEPT_MS,
    SILENT_MS,
    state_set,
)

COMMON = ("record", "instances", "exposure", "indexes", "answers", "endings")
"""The files of ``scripts/common``, in the order in which they use each other."""

_COMMENT = re.compile(r"--.*")
_DEFINITION = re.compile(r"^local (?:function )?(\w+).*(?:\n(?!local ).*)*", re.MULTILINE)
"""From its ``local`` in the first column to the next one's."""
_WORD = re.compile(r"(?<![.\w'])[A-Za-z_]\w*")
"""A name: no field of something, and not the beginning of a text."""
_CONSTANTS = {
    "READY": f"'{READY}'",
    "OWED": f"'{state_set(OWED)}'",
    "REDEEMABLE": f"'{state_set(REDEEMABLE)}'",
    "TAKEN_UP_AGAIN": f"'{state_set(TAKEN_UP_AGAIN)}'",
    "TO_SETTLE": f"'{state_set(TO_SETTLE)}'",
    "SILENT": str(SILENT_MS),
    "LOSS_KEPT": str(LOSS_KEPT_MS),
    "ABANDONED": str(ABANDONED_MS),
    "INSTANCE_KEPT": str(INSTANCE_KEPT_MS),
}
"""What the scripts know of :mod:`gateway.payment` and of times, in milliseconds."""
_CONSTANT = re.compile(rf"\b({'|'.join(_CONSTANTS)})\b")


class Script(NamedTuple):
    """What is sent once, and what names it afterwards."""

    source: bytes
    sha: bytes


class Definition(NamedTuple):
    """A common function or value, and the names in it."""

    name: str
    source: str
    uses: frozenset[str]


def load_scripts() -> dict[str, Script]:
    """By file name without ``.lua``."""
    folder = files("gateway.store").joinpath("scripts")
    common = [_code(folder.joinpath("common", f"{name}.lua").read_text()) for name in COMMON]
    definitions = [
        Definition(found[1], found[0], frozenset(_WORD.findall(found[0])))
        for found in _DEFINITION.finditer("\n".join(common))
    ]
    scripts = {}
    for file in folder.iterdir():
        if file.is_file():
            whole = _with_what_it_uses(_code(file.read_text()), definitions).encode()
            sha = hashlib.sha1(whole).hexdigest().encode()
            scripts[file.name.removesuffix(".lua")] = Script(whole, sha)
    return scripts


def _code(file: str) -> str:
    """Without comments, and with the constants written out: as locals, every function would hold them."""
    return _CONSTANT.sub(lambda found: _CONSTANTS[found[0]], _COMMENT.sub("", file))


def _with_what_it_uses(script: str, definitions: list[Definition]) -> str:
    """Definitions use only those before them, so that the last come first here."""
    parts, used = [script], set(_WORD.findall(script))
    for definition in reversed(definitions):
        if definition.name in used:
            parts.append(definition.source)
            used |= definition.uses
    return "\n".join(reversed(parts))

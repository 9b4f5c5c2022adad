"""Every row of the corpus of faults is shown by a test, or the page on reliability says why not."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROWS = [json.loads(line) for line in (ROOT / "tests/corpus/faults.jsonl").read_text().splitlines()]
PAGE = (ROOT / "docs/reliability.md").read_text()
TOLD = dict(re.findall(r"^\| `([a-z0-9-]+)` \| (.+?) \|$", PAGE, re.MULTILINE))
NAMED = re.compile(r"`(tests/[a-z0-9_/]+\.py)(?:::([a-z0-9_]+))?`")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["id"])
def test_a_row_is_shown_or_told_of(row: dict[str, str]) -> None:
    told = TOLD[row["id"]]
    named = NAMED.findall(told)
    assert named or "not shown here" in told
    for file, function in named:
        assert not function or function in functions(ROOT / file), f"{file}::{function}"


def test_no_row_is_made_up() -> None:
    known = {row["id"] for row in ROWS}
    assert {name for name in TOLD if re.match(r"(crash|redis|facilitator|chain|clock)-", name)} <= known


def functions(file: Path) -> set[str]:
    defined = ast.FunctionDef | ast.AsyncFunctionDef
    return {node.name for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, defined)}

"""YAML with places and without magic."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.settings.document import Document, read
from gateway.settings.expand import Expanded
from gateway.settings.problems import Mark, Problems


def document(tmp_path: Path, text: str, **environ: str) -> tuple[Document | None, list[str]]:
    """The document of a text, and what was said about it."""
    file = tmp_path / "x.yaml"
    file.write_text(text, encoding="utf-8")
    problems = Problems()
    return read(file, "x.yaml", 0, environ, problems), [str(each) for each in problems.errors]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("false", False),
        ("null", None),
        ("", None),
        ("12", 12),
        ("-3", -3),
        ("0", 0),
        ("True", "True"),
        ("yes", "yes"),
        ("no", "no"),
        ("off", "off"),
        ("~", "~"),
        ("0x20", "0x20"),
        ("0o7", "0o7"),
        ("010", "010"),
        ("1_000", "1_000"),
        ("0.010", "0.010"),
        ("1e3", "1e3"),
        (".inf", ".inf"),
        ("2024-01-01", "2024-01-01"),
        ("12:30:45", "12:30:45"),
        ("'12'", "12"),
        ('"true"', "true"),
        ("=", "="),
        ("99999999999999999999999", "99999999999999999999999"),
        ("0x036CbD53842c5426634e7929541eC2318f3dCF7e", "0x036CbD53842c5426634e7929541eC2318f3dCF7e"),
    ],
)
def test_scalars(tmp_path: Path, text: str, value: object) -> None:
    """Only true, false, null and plain decimal integers are not text."""
    found, problems = document(tmp_path, f"a: {text}\n")
    assert found is not None and problems == []
    assert found.data == {"a": value}
    assert type(found.at(("a",))) is type(value)


def test_keys_are_text(tmp_path: Path) -> None:
    """Whatever they look like."""
    found, problems = document(tmp_path, "8453: a\ntrue: b\nnull: c\n0x1: d\n")
    assert found is not None and problems == []
    assert found.data == {"8453": "a", "true": "b", "null": "c", "0x1": "d"}


def test_places(tmp_path: Path) -> None:
    """Every key and every value has its own."""
    found, _ = document(tmp_path, "a:\n  b: [1, {c: 2}]\n")
    assert found is not None
    assert found.places.keys[("a", "b")] == Mark(2, 3)
    assert found.places.values[("a", "b", 0)] == Mark(2, 7)
    assert found.places.values[("a", "b", 1, "c")] == Mark(2, 14)
    assert found.at(("a", "b", 1, "c")) == 2
    assert found.at(("a", "b", 5)) is None
    assert found.at(("a", "x", "y")) is None


def test_expansion(tmp_path: Path) -> None:
    """In values only, after parsing: a variable cannot add structure."""
    found, problems = document(tmp_path, 'a: ${X}\n"${X}": b\nc: "1${X}2"\n', X="{d: e}\nf: g")
    assert found is not None and problems == []
    assert found.data == {"a": "{d: e}\nf: g", "${X}": "b", "c": "1{d: e}\nf: g2"}
    assert isinstance(found.at(("a",)), Expanded)
    assert found.places.hidden == {("a",), ("c",)}


def test_files_are_remembered(tmp_path: Path) -> None:
    """Where a value came from, for the check of its permissions."""
    (tmp_path / "key").write_text("k\r\n")
    found, problems = document(tmp_path, "a: ${file:key}\nb: c\n")
    assert found is not None and problems == []
    assert found.at(("a",)) == "k"
    assert found.sources == {("a",): [tmp_path / "key"]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2\n", "x.yaml:2:1: a: duplicate key (first on line 1)"),
        ("a: {b: 1, b: 2}\n", "x.yaml:1:11: a.b: duplicate key (first on line 1)"),
        ("a: &x [1]\nb: *x\n", "x.yaml:2:4: not valid YAML: aliases"),
        ("a: &a [*a]\n", "x.yaml:1:8: not valid YAML: aliases"),
        ("a: {<<: {b: 1}}\n", "x.yaml:1:5: a: merge keys"),
        ("{[a]: 1}\n", "x.yaml:1:2: a key must be plain text"),
        ("a: !!python/object:os.system ls\n", "x.yaml:1:4: a: tags (`!...`) are not supported"),
        ("a: !!int x\n", "x.yaml:1:4: a: tags"),
        ("a: !x {b: 1}\n", "x.yaml:1:4: a: tags"),
        ("a: 1\n---\nb: 2\n", "x.yaml:2:1: not valid YAML: but found another document"),
        ("[" * 1000, "x.yaml:1:51: not valid YAML: nested too deeply"),
        ("a: 'b\n", "x.yaml:2:1: not valid YAML: "),
        ("a: @b\n", "x.yaml:1:4: not valid YAML: "),
        ("a: ${X}\n", "x.yaml:1:4: a: the environment variable X is not set"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, message: str) -> None:
    """With its place."""
    _, problems = document(tmp_path, text)
    assert len(problems) == 1
    assert problems[0].startswith(message)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.text(alphabet="abc:-[]{}&*!|>'\"%@`#?,.\n \t${}0x1é\x07", max_size=60))
def test_no_text_breaks_the_reader(tmp_path: Path, text: str) -> None:
    """A document or a problem, never another exception."""
    found, problems = document(tmp_path, text)
    assert found is not None or problems

"""References in configuration values."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.settings.expand import CannotExpand, Expander


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("plain $0.01 $", "plain $0.01 $"),
        ("${A}", "a"),
        ("x${A}y${A}z", "xayaz"),
        ("${EMPTY}", ""),
        ("${NO:-}", ""),
        ("${NO:-b:-c}", "b:-c"),
        ("${EMPTY:-b}", "b"),
        ("${A:-b}", "a"),
        ("${A:?why}", "a"),
        ("${REF}", "${A}"),
        ("${file:f}", "line\n"),
    ],
)
def test_values(tmp_path: Path, text: str, expanded: str) -> None:
    """Once, never again: what a variable holds is not expanded."""
    (tmp_path / "f").write_text("line\n\n")
    environ = {"A": "a", "EMPTY": "", "REF": "${A}"}
    assert Expander(environ, tmp_path).expand(text) == expanded


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${NO}", "NO is not set"),
        ("${NO:?say why}", "say why"),
        ("${NO:?}", "NO is not set"),
        ("${EMPTY:?say why}", "say why"),
        ("${A", "not closed"),
        ("${A:-${B}}", "nested"),
        ("${}", "is not"),
        ("${A B}", "is not"),
        ("${A:+b}", "is not"),
        ("${file:no}", "cannot be read: No such file"),
        ("${file:.}", "cannot be read: Is a directory"),
        ("${file:binary}", "is not UTF-8"),
        ("${file:big}", "larger than"),
    ],
)
def test_what_has_no_value(tmp_path: Path, text: str, message: str) -> None:
    """Each with its reason, none with a value."""
    (tmp_path / "binary").write_bytes(b"\xff")
    (tmp_path / "big").write_bytes(b"x" * 70_000)
    with pytest.raises(CannotExpand, match=message):
        Expander({"A": "a", "EMPTY": ""}, tmp_path).expand(text)

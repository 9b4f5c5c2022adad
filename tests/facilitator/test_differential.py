"""A short run of ``make differential``, and its table in the page about the facilitator."""

from __future__ import annotations

import re
from pathlib import Path

from differential.explained import ROWS
from differential.run import compare
from kit.anvil import Anvil

PAGE = Path(__file__).resolve().parents[2] / "docs" / "facilitator.md"
NUMBER = 200


async def test_the_official_facilitator_says_the_same_or_it_is_explained(anvil: Anvil) -> None:
    report = await compare(anvil, NUMBER, seed=2)
    assert report.unexplained == []
    assert report.total == NUMBER and report.agreed["valid"] >= 10
    assert len(report.agreed) >= 7, "too few reasons were reached"


def test_every_explanation_is_in_the_table() -> None:
    written = re.findall(r"^\| `([a-z0-9-]+)` \|", PAGE.read_text(), re.MULTILINE)
    assert set(written) == set(ROWS)

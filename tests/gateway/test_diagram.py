"""The diagram in the documentation is the table of states."""

from __future__ import annotations

from pathlib import Path

from gateway.diagram import PAGE, WORDS, diagram, drawn
from gateway.payment import TRANSITIONS, State

ROOT = Path(__file__).parents[2]


def test_the_page_shows_the_table_of_now() -> None:
    """`make diagram` after a change of the table."""
    page = (ROOT / PAGE).read_text()
    assert drawn(page) == page
    assert diagram() in page


def test_every_step_has_a_meaning_and_no_other() -> None:
    steps = {(state, to) for state, targets in TRANSITIONS.items() for to in targets}
    assert set(WORDS) == steps


def test_every_state_can_be_reached() -> None:
    assert {to for targets in TRANSITIONS.values() for to in targets} == set(State)

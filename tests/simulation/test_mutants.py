"""Some of the planted bugs; ``make mutants`` plants them all."""

from __future__ import annotations

import pytest

from simulation.hunt import hunt
from simulation.mutants import MUTANTS, Mutant
from simulation.patching import Edit, planted

QUICK = (
    "NX dropped: whoever asks gets the claim",
    "the key's scope is without the payer",
    "lost answers are not looked for",
    "the answer leaves before it is recorded",
    "fails open while the store is away",
)


@pytest.mark.parametrize("mutant", [one for one in MUTANTS if one.name in QUICK], ids=lambda one: one.name)
def test_a_planted_bug_is_caught(mutant: Mutant) -> None:
    assert hunt(mutant, 1, 300) is not None


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda one: one.name)
def test_every_bug_can_still_be_planted(mutant: Mutant) -> None:
    """The code it changes is there as it was written down."""
    with planted(mutant.edits):
        pass


def test_a_bug_whose_code_is_gone_is_told() -> None:
    edit = Edit("gateway.leases", "Leases.run", "no such code", "")
    with pytest.raises(ValueError, match="no such code"), planted([edit]):
        pass


def test_there_are_enough_of_them() -> None:
    assert len(MUTANTS) >= 20 and len({one.name for one in MUTANTS}) == len(MUTANTS)
    assert {one.name for one in MUTANTS} >= set(QUICK)

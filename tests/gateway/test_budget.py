"""The bound on what all requests hold together."""

from __future__ import annotations

import pytest

from gateway.budget import Budget
from gateway.errors import Unavailable


def test_what_is_held_is_given_back() -> None:
    budget = Budget(10)
    with budget.hold() as hold:
        hold.add(6)
        hold.add(4)
        assert budget.used == 10
    assert budget.used == 0


def test_above_the_bound_is_busy_and_loses_nothing() -> None:
    budget = Budget(10)
    with budget.hold() as first, budget.hold() as second:
        first.add(6)
        with pytest.raises(Unavailable, match="busy"):
            second.add(5)
        second.add(4)
    assert budget.used == 0

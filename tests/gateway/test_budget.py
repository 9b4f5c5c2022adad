"""The bound on what all requests hold together."""

from __future__ import annotations

import pytest

from gateway.budget import Budget
from gateway.errors import Unavailable


def test_what_is_held_is_given_back() -> None:
    budget = Budget(10)
    hold = budget.hold()
    hold.add(6)
    hold.add(4)
    assert budget.used == 10 and not hold.empty
    hold.release()
    assert budget.used == 0 and hold.empty


def test_above_the_bound_is_busy_and_loses_nothing() -> None:
    budget = Budget(10)
    first, second = budget.hold(), budget.hold()
    first.add(6)
    assert not second.fits(5)
    with pytest.raises(Unavailable, match="busy"):
        second.add(5)
    second.add(4)
    first.release()
    second.release()
    assert budget.used == 0


def test_giving_back_twice_gives_back_once() -> None:
    budget = Budget(10)
    first, second = budget.hold(), budget.hold()
    first.add(6)
    second.add(2)
    first.release()
    first.release()
    assert budget.used == 2

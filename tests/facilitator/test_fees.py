"""First prices and raises, as arithmetic."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from facilitator.fees import Fees, ceiling, first, raised

wei = st.integers(0, 10**12)


def test_ceiling() -> None:
    assert ceiling(50) == 50 * 10**9
    assert ceiling(Decimal("0.1")) == 10**8


def test_first_prices() -> None:
    assert first(100, 7, 1000) == Fees(307, 7)
    assert first(400, 7, 1000) == Fees(1000, 7), "the cap"
    assert first(1000, 2000, 1000) == Fees(1000, 1000)
    assert first(1001, 7, 1000) is None


def test_raises() -> None:
    assert raised(Fees(800, 80), 100, 10_000) == Fees(900, 90)
    assert raised(Fees(800, 80), 1000, 10_000) == Fees(3090, 90), "up to what the block costs"
    assert raised(Fees(800, 80), 1000, 2000) == Fees(2000, 90), "the cap"
    assert raised(Fees(800, 80), 100, 899) is None, "too little for a replacement"
    assert raised(Fees(800, 80), 2001, 2000) is None, "would not be mined either"


@given(wei, wei, wei, wei)
def test_a_raise_is_an_eighth_and_within_the_cap(base: int, most: int, priority: int, cap: int) -> None:
    found = raised(Fees(max(most, priority), priority), base, cap)
    if found is not None:
        assert 8 * found.most >= 9 * max(most, priority)
        assert 8 * found.priority >= 9 * priority
        assert found.priority <= found.most <= cap
        assert found.most >= base

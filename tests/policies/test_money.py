"""Money: exact, positive, never a float."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.money import (
    MAX_ATOMIC,
    Asset,
    Atomic,
    BadMoney,
    Dollars,
    Money,
    Tokens,
    amount_in,
    atomic,
    not_below,
    parse_money,
    to_atomic,
    whole_units,
)

USDC = Asset("USDC", "0x036CbD53842c5426634e7929541eC2318f3dCF7e", 6, "USDC", "2")


@pytest.mark.parametrize(
    ("text", "money"),
    [
        ("$0.01", Dollars(Decimal("0.01"))),
        ("$2", Dollars(Decimal(2))),
        ("0.01 USDC", Tokens(Decimal("0.01"), "USDC")),
        ("1 USD₮0", Tokens(Decimal(1), "USD₮0")),
    ],
)
def test_forms(text: str, money: Money) -> None:
    """Dollars, and tokens by symbol."""
    assert parse_money(text) == money


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("$0", "zero"),
        ("$0.000", "zero"),
        ("0 USDC", "zero"),
        ("-$1", "negative"),
        ("$-1", "negative"),
        ("-1 USDC", "negative"),
        ("0.01", "needs a unit"),
        ("1", "needs a unit"),
        ("$1e3", "not a price"),
        ("$.5", "not a price"),
        ("$1,000", "not a price"),
        ("$1.", "not a price"),
        ("$٣", "not a price"),
        ("1USDC", "not a price"),
        ("", "not a price"),
        ("$NaN", "not a price"),
    ],
)
def test_what_is_no_price(text: str, message: str) -> None:
    """Everything else is refused with its reason."""
    with pytest.raises(BadMoney, match=message):
        parse_money(text)


def test_atomic_amounts() -> None:
    """Text or integer, within uint256."""
    assert atomic("10000", "USDC") == atomic(10000, "USDC") == Atomic(10000, "USDC")
    for bad in ("0", 0, "-1", -1, "1.5", "0x10", "", MAX_ATOMIC + 1, "9" * 100):
        with pytest.raises(BadMoney):
            atomic(bad, "USDC")


@pytest.mark.parametrize(
    ("value", "decimals", "amount"),
    [
        ("0.01", 6, 10_000),
        ("1", 0, 1),
        ("0.000001", 6, 1),
        ("1.50", 1, 15),
        ("123456789.123456", 6, 123456789123456),
    ],
)
def test_to_atomic(value: str, decimals: int, amount: int) -> None:
    """Exact conversion."""
    assert to_atomic(Decimal(value), decimals) == amount
    assert Decimal(whole_units(amount, decimals)) == Decimal(value)


@pytest.mark.parametrize(
    "value", ["0.0000001", "0.0100001", "0", "-1", "1e80", "NaN", "Infinity", "-0.0000001"]
)
def test_to_atomic_refuses(value: str) -> None:
    """Nothing is truncated to a free or a cheaper route."""
    with pytest.raises(BadMoney):
        to_atomic(Decimal(value), 6)


@given(st.integers(1, MAX_ATOMIC), st.integers(0, 77))
def test_round_trip(amount: int, decimals: int) -> None:
    """Whole units and atomic units say the same, whatever the decimal context."""
    whole = Decimal((0, tuple(map(int, str(amount))), -decimals))
    assert to_atomic(whole, decimals) == amount


def test_amount_in() -> None:
    """Dollars and tokens scale by the asset's decimals, atomic units do not."""
    assert amount_in(Dollars(Decimal("0.01")), USDC) == 10_000
    assert amount_in(Tokens(Decimal("0.01"), "USDC"), USDC) == 10_000
    assert amount_in(Atomic(7, "USDC"), USDC) == 7


def test_comparison_needs_one_kind() -> None:
    """Different kinds of money are not compared: neither is known to be dearer."""
    cent, token = Dollars(Decimal("0.01")), Tokens(Decimal(5), "USDC")
    assert not_below(cent, cent)
    assert not not_below(cent, Dollars(Decimal("0.02")))
    assert not not_below(cent, token)
    assert not not_below(token, cent)
    assert not not_below(token, Tokens(Decimal(1), "EURC"))

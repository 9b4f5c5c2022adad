"""Money: what a price says, and what it is in an asset's atomic units. Integers and decimals only."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from decimal import Decimal

MAX_ATOMIC = 2**256 - 1
"""The largest amount a token contract can name (uint256)."""

_DOLLARS = re.compile(r"\$([0-9]{1,40}(?:\.[0-9]{1,80})?)\Z")
_TOKENS = re.compile(r"([0-9]{1,40}(?:\.[0-9]{1,80})?) (\S{1,32})\Z")
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?\Z")


class BadMoney(ValueError):
    """An amount that cannot be a price; the message says why, without a location."""


@dataclass(frozen=True, slots=True)
class Asset:
    """A token on one network. ``name`` and ``version`` are its EIP-712 domain."""

    symbol: str
    address: str
    """EIP-55 checksummed."""
    decimals: int
    name: str
    version: str


@dataclass(frozen=True, slots=True)
class Dollars:
    """US dollars, paid in each network's dollar asset."""

    value: Decimal

    def __str__(self) -> str:
        return f"${self.value:f}"


@dataclass(frozen=True, slots=True)
class Tokens:
    """Whole units of a named asset."""

    value: Decimal
    symbol: str

    def __str__(self) -> str:
        return f"{self.value:f} {self.symbol}"


@dataclass(frozen=True, slots=True)
class Atomic:
    """Atomic units of a named asset."""

    value: int
    symbol: str

    def __str__(self) -> str:
        return f"{self.value} atomic {self.symbol}"


Money = Dollars | Tokens | Atomic


def micros(money: Money) -> int:
    """An amount in millionths of a dollar (or of its asset's unit), rounded up.

    Atomic units count as millionths: so many decimals the dollar tokens have.
    """
    if isinstance(money, Atomic):
        return money.value
    return math.ceil(money.value * 1_000_000)


def parse_money(text: str) -> Money:
    """Read ``$0.01`` or ``0.01 USDC``; BadMoney for anything else, zero and negative amounts."""
    if dollars := _DOLLARS.match(text):
        return Dollars(_positive(dollars[1]))
    if tokens := _TOKENS.match(text):
        return Tokens(_positive(tokens[1]), tokens[2])
    raise BadMoney(_what_is_wrong(text))


def atomic(amount: str | int, symbol: str) -> Atomic:
    """Read an amount in atomic units; BadMoney unless it is a positive integer a token can name."""
    text = str(amount)
    if text.startswith("-"):
        raise BadMoney("a price cannot be negative")
    if not (text.isascii() and text.isdecimal()) or len(text) > 78:
        raise BadMoney("an amount in atomic units is a whole number of at most 78 digits")
    return Atomic(_in_range(int(text)), symbol)


def to_atomic(value: Decimal, decimals: int) -> int:
    """``value`` in units of 10**-decimals; BadMoney where that is not exact, not positive or too large."""
    if not value.is_finite():
        raise BadMoney("a price must be a finite number")
    sign, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int)
    coefficient = int("".join(map(str, digits)))
    if sign and coefficient:
        raise BadMoney("a price cannot be negative")
    shift = exponent + decimals
    if shift > 78:
        raise BadMoney("the amount is larger than a token can name (2**256 - 1)")
    scaled, rest = (coefficient * 10**shift, 0) if shift >= 0 else divmod(coefficient, 10**-shift)
    if rest:
        raise BadMoney(f"more decimals than the asset has ({decimals})")
    return _in_range(scaled)


def amount_in(money: Money, asset: Asset) -> int:
    """What ``money`` is in ``asset``'s atomic units; BadMoney where it cannot be paid exactly."""
    if isinstance(money, Atomic):
        return money.value
    return to_atomic(money.value, asset.decimals)


def whole_units(amount: int, decimals: int) -> str:
    """An atomic amount in whole units, exactly, for people to read."""
    text = f"{Decimal((0, tuple(map(int, str(amount))), -decimals)):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def not_below(one: Money, other: Money) -> bool:
    """Whether ``one`` is known to be at least as dear: False where the two cannot be compared."""
    if type(one) is not type(other) or _symbol(one) != _symbol(other):
        return False
    return one.value >= other.value


def _symbol(money: Money) -> str:
    return "$" if isinstance(money, Dollars) else money.symbol


def _positive(number: str) -> Decimal:
    value = Decimal(number)
    if value == 0:
        raise BadMoney("a price cannot be zero; say `free`")
    return value


def _in_range(amount: int) -> int:
    if amount == 0:
        raise BadMoney("a price cannot be zero; say `free`")
    if amount > MAX_ATOMIC:
        raise BadMoney("the amount is larger than a token can name (2**256 - 1)")
    return amount


def _what_is_wrong(text: str) -> str:
    if text.startswith(("-", "$-")):
        return "a price cannot be negative"
    if _NUMBER.match(text):
        return f"an amount needs a unit: write `${text}` or `{text} USDC`"
    return "not a price: write `free`, `$0.01`, `0.01 USDC`, {amount, asset} or {when, else}"

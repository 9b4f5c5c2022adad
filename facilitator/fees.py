"""What is paid for gas: first prices and raises. EIP-1559, wei for each unit of gas."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

_GWEI = 10**9

_HEADROOM = 3
"""Base fees a transaction can bear at first: a rise should not need a raise."""


@dataclass(frozen=True, slots=True)
class Fees:
    """The two fields of a transaction."""

    most: int
    priority: int


def ceiling(max_fee_gwei: int | Decimal) -> int:
    """``max_fee_gwei`` in wei."""
    return int(Decimal(max_fee_gwei) * _GWEI)


def first(base_fee: int, priority: int, cap: int) -> Fees | None:
    """What to pay when blocks cost ``base_fee`` and ``priority`` is suggested; None above the cap."""
    if base_fee > cap:
        return None
    priority = min(priority, cap)
    most = min(cap, _HEADROOM * base_fee + priority)
    return Fees(most, min(priority, most))


def raised(fees: Fees, base_fee: int, cap: int) -> Fees | None:
    """Fees that replace ``fees``: both an eighth higher at least; None where the cap does not allow
    that, or where even the cap is below the base fee."""
    priority = _more(fees.priority)
    most = min(cap, max(_more(fees.most), _HEADROOM * base_fee + priority))
    if most < _more(fees.most) or priority > most or most < base_fee:
        return None
    return Fees(most, priority)


def _more(fee: int) -> int:
    """An eighth (12.5 %) more, rounded up: nodes ask for a tenth."""
    return -(-fee * 9 // 8)

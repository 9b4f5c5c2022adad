"""Payments that are due together, out of a real store, onto a real chain."""

from __future__ import annotations

import pytest
from kit.settlements import measure


@pytest.mark.parametrize("store", ["embedded", "redis"])
def test_what_waits_in_the_store_goes_out_together(store: str) -> None:
    """All are settled and on record, in as few transactions as the first look at the queue allows."""
    measured = measure("batched", 60, store)
    assert measured.payments == 60 and measured.transactions <= 4

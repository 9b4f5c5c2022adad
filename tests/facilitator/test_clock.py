"""The host's clock is wrong; the chain's is right."""

from __future__ import annotations

import time
from typing import Any

import pytest
from kit.anvil import Anvil

from facilitator.base import Accepted, Purse, Refused, Settled, Unknown, VerificationUnavailable
from facilitator.exact_evm import VALID_AFTER, VALID_BEFORE
from facilitator.wire import PaymentRequirements


async def no_claims() -> tuple[()]:
    return ()


NO_CLAIMS = Purse(0, no_claims)
APART = {"clock-00: +1 h": 3600, "clock-01: -1 h": -3600, "clock-05: 1970": -time.time()}


@pytest.mark.parametrize("case", APART)
@pytest.mark.parametrize("valid_for", [300, 10**7], ids=["five minutes", "months"])
async def test_a_clock_far_off_takes_nothing_on(
    case: str, valid_for: int, anvil: Anvil, rig: Any, payer: Any, journal: Any, terms: PaymentRequirements
) -> None:
    """clock-00, clock-01, clock-05: too late by our clock, or the clocks are apart; and nothing is sent."""
    anvil.mint(payer.address, terms.amount)
    facilitator = rig.facilitator(anvil.url, clock=lambda: time.time() + APART[case])
    payload = payer.pay(terms, valid_before=int(time.time()) + valid_for)
    if APART[case] > valid_for:
        refused = await facilitator.verify(payload, terms, NO_CLAIMS)
        assert isinstance(refused, Refused)
        assert refused.reason == VALID_BEFORE
    else:
        with pytest.raises(VerificationUnavailable, match="apart"):
            await facilitator.verify(payload, terms, NO_CLAIMS)
    assert await facilitator.settle(rig.due(payload, terms), journal) == Unknown()
    assert journal.recorded == []


@pytest.mark.parametrize("case", APART)
async def test_a_clock_that_goes_wrong_does_not_hide_what_was_paid(
    case: str, rig: Any, payer: Any, journal: Any, terms: PaymentRequirements
) -> None:
    """clock-00, clock-01, clock-05 while a settlement is under way: evidence is the chain's alone."""
    with Anvil(extra=["--no-mining"]) as anvil:
        anvil.place_token()
        anvil.mint(payer.address, terms.amount)
        due = rig.due(payer.pay(terms), terms)
        pending = await rig.facilitator(anvil.url, settle_within=0.2).settle(due, journal)
        anvil.mine()
        wrong = rig.facilitator(anvil.url, clock=lambda: time.time() + APART[case])
        assert await wrong.settle(due, journal) == Settled(pending.transaction)


async def test_a_step_back_of_half_a_minute(
    anvil: Anvil, rig: Any, payer: Any, journal: Any, terms: PaymentRequirements
) -> None:
    """clock-03: time does not go back: the later of the two clocks counts, then they are apart."""
    anvil.mint(payer.address, terms.amount)
    step = {"back": 0.0}
    facilitator = rig.facilitator(anvil.url, clock=lambda: time.time() - step["back"])
    ends_soon = payer.pay(terms, valid_before=int(time.time()) + 20)
    assert await facilitator.verify(ends_soon, terms, NO_CLAIMS) == Accepted()
    step["back"] = 28.0
    anvil.mine()
    budget = {"work_budget": 25}
    late = await facilitator.verify(ends_soon, terms, NO_CLAIMS, **budget)
    assert isinstance(late, Refused)
    assert late.reason == VALID_BEFORE, "48 s left by our clock, 20 s by the chain's"
    good = payer.pay(terms)
    assert await facilitator.verify(good, terms, NO_CLAIMS) == Accepted()
    step["back"] = 40.0
    with pytest.raises(VerificationUnavailable, match="apart"):
        await facilitator.verify(good, terms, NO_CLAIMS)
    step["back"] = 28.0
    assert isinstance(await facilitator.settle(rig.due(good, terms), journal), Settled)


@pytest.mark.parametrize("drift", [-25, -10, 10, 25])
async def test_a_clock_that_is_slewed(
    drift: int, anvil: Anvil, rig: Any, payer: Any, journal: Any, terms: PaymentRequirements
) -> None:
    """clock-04: within 30 s work goes on; nothing that either clock calls too late or too early is taken."""
    anvil.mint(payer.address, terms.amount)
    facilitator = rig.facilitator(anvil.url, clock=lambda: time.time() + drift)
    payload = payer.pay(terms)
    assert await facilitator.verify(payload, terms, NO_CLAIMS) == Accepted()
    late = await facilitator.verify(payer.pay(terms, valid_before=int(time.time()) + 5), terms, NO_CLAIMS)
    assert isinstance(late, Refused)
    assert late.reason == VALID_BEFORE
    early = await facilitator.verify(payer.pay(terms, valid_after=int(time.time()) + 28), terms, NO_CLAIMS)
    assert isinstance(early, Refused)
    assert early.reason == VALID_AFTER
    assert isinstance(await facilitator.settle(rig.due(payload, terms), journal), Settled)

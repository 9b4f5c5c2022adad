"""The simulated fleet, where it can be worked out by hand what it must come to."""

from __future__ import annotations

import pytest
from bench.fleet import Chain, Costs, Fleet, most, play

GATEWAY_MS = Costs(gateway=0.001, store=0.0, gas=50_000)
EAGER = Chain(block_time=1.0, gas_limit=1e9, batch=1, wait=0.0)


def test_a_queue_waits_as_long_as_the_books_say() -> None:
    """One core at half its load: what waits is as long as what is worked on (M/M/1, in four pieces)."""
    seen = play(Fleet(1, chain=EAGER), GATEWAY_MS, 500, blocks=60)
    assert seen.answered == pytest.approx(500, rel=0.05)
    assert seen.gateways == pytest.approx(0.5, rel=0.05)
    assert 0.001 < seen.p50 < 0.003


def test_the_same_seed_is_the_same_run() -> None:
    fleet, costs = Fleet(2), Costs(0.001, 0.0004, 50_000)
    assert play(fleet, costs, 300) == play(fleet, costs, 300)
    assert play(fleet, costs, 300) != play(fleet, costs, 300, seed=2)


def test_more_gateways_hold_more_until_redis_is_full() -> None:
    costs = Costs(gateway=0.002, store=0.001, gas=50_000)
    one, two, many = (most(Fleet(workers), costs).answered for workers in (1, 2, 16))
    assert one == pytest.approx(450, rel=0.15)
    assert 1.4 * one < two < 2 * one, "one of them settles for both"
    assert 800 < many < 1000, "Redis' millisecond"


def test_what_the_chain_cannot_take_is_not_held() -> None:
    costs = Costs(0.001, 0.0001, 50_000)
    small = Chain(block_time=2.0, gas_limit=50e6)
    held = most(Fleet(4, chain=small), costs)
    assert 400 < held.answered <= 510, "a thousand payments in two seconds"
    crowded = play(Fleet(4, chain=small), costs, 1000)
    assert not crowded.holds
    assert crowded.answered == pytest.approx(1000, rel=0.05), "deferred: served all the same"
    assert crowded.backlog > 4 * held.backlog


def test_a_batch_waits_for_more_only_so_long() -> None:
    fleet = Fleet(1, chain=Chain(block_time=1.0, gas_limit=1e9, batch=100, wait=0.2))
    seen = play(fleet, Costs(0.001, 0.0, 50_000), 20, blocks=30)
    assert seen.settled == pytest.approx(20, rel=0.15)
    assert seen.backlog < 40

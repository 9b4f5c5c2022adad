"""Some hundred histories of every run of the tests; ``make simulate`` runs 200,000 and more."""

from __future__ import annotations

import pytest

from simulation.__main__ import tally
from simulation.history import run
from simulation.virtual import virtual

CHUNKS = [(first, 100) for first in range(1, 301, 100)]


@pytest.mark.parametrize(("first", "count"), CHUNKS)
def test_whatever_breaks_no_history_breaks_a_promise(first: int, count: int) -> None:
    found = tally(first, count)
    assert found.bad == []
    assert found.histories == count and found.faults and found.executions


def test_the_same_seed_is_the_same_history() -> None:
    lines: list[list[str]] = [[], []]
    with virtual():
        for told in lines:
            run(23, told.append)
    assert lines[0] == lines[1] != []


def test_the_histories_reach_every_kind_of_end() -> None:
    found = tally(1000, 150)
    states = {"settled", "refused", "released"}
    assert states <= set(found.states)
    kinds = {name.partition(":")[2] for name in found.faults}
    assert {"kill", "kill_after", "freeze", "freeze_after", "fail", "lost_answer", "late", "slow"} <= kinds
    answers = {"200", "200 replayed", "402 insufficient_funds", "409 payment_in_progress", "409 payment_used"}
    answers |= {"503 settlement_pending", "503 store_unavailable", "hung up", "reset"}
    assert answers <= set(found.outcomes)

"""Who leaves together, and when: budgets kept, order kept, nobody lost, nobody made to wait for nothing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from facilitator import multicall
from facilitator.packing import MOST, MOST_GAS, USUAL_BLOCK, Batches, Gathering, gas_budget
from facilitator.preview import Costs

BATCHES = Batches(max_wait=0.2, max_size=5)


class Call:
    """As long as every ``transferWithAuthorization``."""

    def __init__(self, asset: str = "0x" + "11" * 20) -> None:
        self.asset = asset
        self.data = "0x" + "ab" * 292


def gathering(batches: Batches = BATCHES) -> Gathering[tuple[int, int]]:
    """Of (lot, number)."""
    return Gathering(batches, lambda one: one[0])


def test_who_comes_alone_leaves_at_once() -> None:
    waiting = gathering()
    waiting.join((0, 1), 10.0, company=False)
    assert waiting.leaves_at(busy=False) == 10.0 + BATCHES.alone
    assert waiting.take() == [(0, 1)] and not waiting


def test_who_comes_in_company_waits_until_nobody_joins() -> None:
    waiting = gathering()
    waiting.join((0, 2), 10.05, company=False)
    waiting.join((0, 3), 10.051, company=True)
    assert waiting.leaves_at(busy=False) == 10.051 + BATCHES.gap
    assert waiting.take() == [(0, 2), (0, 3)]


def test_nobody_waits_longer_than_the_longest_wait() -> None:
    waiting = gathering(Batches(max_wait=0.03, max_size=100))
    for number in range(20):
        waiting.join((0, number), 10.0 + number * 0.005, company=True)
    assert waiting.leaves_at(busy=False) == 10.03


def test_while_others_are_prepared_they_gather() -> None:
    waiting = gathering()
    waiting.join((0, 1), 10.0, company=True)
    assert waiting.leaves_at(busy=True) == 10.0 + BATCHES.max_wait
    for number in range(4):
        waiting.join((0, number), 10.01, company=True)
    assert waiting.leaves_at(busy=True) <= 10.01, "they are enough"


def test_room_is_what_a_block_gives() -> None:
    waiting = gathering()
    waiting.room = 2
    for number in range(5):
        waiting.join((0, number), 10.0, company=True)
    assert [len(waiting.take()) for _ in range(3)] == [2, 2, 1]
    waiting.room = 0
    waiting.join((0, 9), 11.0, company=True)
    assert waiting.take() == [(0, 9)], "alone one can always go"


@given(
    joins=st.lists(st.tuples(st.integers(0, 2), st.floats(0, 0.1)), max_size=60),
    size=st.integers(1, 8),
    room=st.integers(0, 10),
    busy=st.booleans(),
)
def test_order_is_kept_and_nobody_is_lost(
    joins: list[tuple[int, float]], size: int, room: int, busy: bool
) -> None:
    batches = Batches(max_wait=0.2, max_size=size)
    waiting, now, left = gathering(batches), 100.0, []
    waiting.room = room
    came: dict[tuple[int, int], float] = {}
    for number, (lot, pause) in enumerate(joins):
        now += pause
        while waiting and (at := waiting.leaves_at(busy=busy)) <= now:
            left.append((waiting.take(), at))
        came[lot, number] = now
        waiting.join((lot, number), now, company=True)
    while waiting:
        at = waiting.leaves_at(busy=busy)
        left.append((waiting.take(), at))

    assert [one for batch, _ in left for one in batch] == list(came)
    for batch, at in left:
        assert 1 <= len(batch) <= max(1, min(size, room)) and len({lot for lot, _ in batch}) == 1
        assert at <= came[batch[0]] + batches.max_wait


@given(alone=st.integers(21_000, 250_000), block=st.integers(0, 10**9))
def test_the_gas_of_what_leaves_is_within_the_budget(alone: int, block: int) -> None:
    """And never below a quarter more than each would need by itself."""
    costs, call = Costs(), Call()
    costs.learn(call.asset, alone)
    budget = gas_budget(block)
    assert budget <= MOST_GAS and budget <= (block or USUAL_BLOCK) / 4
    count = max(0, costs.room(budget))
    assert count == 0 or costs.together([call] * count) <= budget  # type: ignore[list-item]
    assert costs.together([call] * 10) >= 10 * alone * 5 // 4  # type: ignore[list-item]


def test_what_costs_too_much_is_not_taken_along() -> None:
    """The first payer looked at may have a wallet that burns gas."""
    costs = Costs()
    costs.learn("0xtoken", 3_000_000)
    assert not costs.knows("0xtoken")


def test_the_most_there_can_be_is_what_nodes_take() -> None:
    data = multicall.aggregate3([Call()] * MOST)
    assert (len(data) - 2) // 2 <= 96 * 1024

"""The table of a payment's states, held against its two laws."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.payment import TRANSITIONS, State, allowed_from, payment_id, request_digest


def reachable(start: State) -> set[State]:
    found: set[State] = set()
    todo = [start]
    while todo:
        for state in TRANSITIONS[todo.pop()] - found:
            found.add(state)
            todo.append(state)
    return found


def test_every_state_has_its_row() -> None:
    assert set(TRANSITIONS) == set(State)


def test_money_that_may_have_moved_never_becomes_free_again() -> None:
    free = {State.RESERVED, State.RELEASED}
    for state in set(State) - free:
        assert not reachable(state) & {State.RELEASED, State.RESERVED, State.SERVED}


def test_unknown_leaves_by_evidence_only() -> None:
    assert TRANSITIONS[State.UNKNOWN] - {State.UNKNOWN} == {State.SETTLED, State.REFUSED}


def test_settled_money_is_owed_for_until_its_answer_is_out() -> None:
    owed = {State.SETTLED, State.SERVING, State.REFUND_DUE}
    for state in owed:
        assert reachable(state) <= owed


def test_nothing_is_handed_out_before_the_money_is_here() -> None:
    assert allowed_from(State.SERVING) == {State.SETTLED, State.REFUND_DUE}


def test_allowed_from_is_the_table_read_backwards() -> None:
    for source, targets in TRANSITIONS.items():
        for target in State:
            assert (source in allowed_from(target)) == (target in targets)


def test_the_same_replay_key_is_the_same_payment() -> None:
    assert (
        payment_id("84532:0xa:0xb:0x1") == payment_id("84532:0xa:0xb:0x1") != payment_id("84532:0xa:0xb:0x2")
    )


parts = st.tuples(
    st.sampled_from(["GET", "POST"]),
    st.sampled_from(["/a", "/a/b"]),
    st.none() | st.sampled_from(["x=1", "x=2", "/b"]),
    st.sampled_from([b"", b"1", b"\n"]),
)


@given(parts, parts)
def test_two_requests_share_a_digest_only_when_they_are_the_same(one: tuple, other: tuple) -> None:
    assert (request_digest(*one) == request_digest(*other)) == (one == other)

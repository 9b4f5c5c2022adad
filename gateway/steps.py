"""The steps of a payment's life as the store takes them: one function for each, in order."""

from __future__ import annotations

from gateway.payment import State, allowed_from
from gateway.store import Step


def about_to_forward(note: bytes | None) -> Step:
    """Before a request whose lost answer is to be settled: whoever finds it abandoned settles it."""
    return Step(
        to=State.RESERVED,
        since=frozenset({State.RESERVED}),
        in_flight=True,
        queued=True,
        keep_lease=True,
        note=note,
    )


def released(forget_at: float) -> Step:
    """Nothing was sold; ``forget_at`` is unix seconds."""
    return Step(
        to=State.RELEASED,
        since=allowed_from(State.RELEASED),
        in_flight=False,
        queued=False,
        forget_at=int(forget_at * 1000),
    )


def served(answer: bytes | None, note: bytes | None, *, waits: bool) -> Step:
    """The answer is here: it, what it used and the settlement's entry in one step.

    ``waits``: for the outcome.
    """
    return Step(
        to=State.SERVED,
        since=allowed_from(State.SERVED),
        in_flight=True,
        answer=answer,
        note=note,
        queued=True,
        keep_lease=waits,
    )


def settle_first(note: bytes | None) -> Step:
    """Before the upstream is asked: nobody holds the payment, so it is due at once."""
    return Step(to=State.SETTLING, since=frozenset({State.RESERVED}), in_flight=True, note=note, queued=True)


def handed_out(answer: bytes | None, forget_at: float, *, again: bool) -> Step:
    """What was paid for is on its way; ``again`` where the upstream had been asked before."""
    return Step(
        to=State.SETTLED,
        since=frozenset({State.SERVING}),
        in_flight=False,
        answer=answer,
        queued=False,
        redeemed=again,
        forget_at=int(forget_at * 1000),
    )


def refund_due(reason: str, *, again: bool = False) -> Step:
    """Paid, and nothing to show for it: kept until it is redeemed or the operator gives it back."""
    return Step(
        to=State.REFUND_DUE,
        since=allowed_from(State.REFUND_DUE),
        in_flight=False,
        reason=reason,
        queued=False,
        redeemed=again,
    )

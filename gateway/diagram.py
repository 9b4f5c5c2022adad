"""The life of a payment as a Mermaid diagram, drawn from the one table: ``python -m gateway.diagram``.

It replaces what stands between the fences of ``docs/life-of-a-payment.md``.
"""

from __future__ import annotations

import sys
from pathlib import Path

from gateway.payment import TRANSITIONS, State

PAGE = Path("docs/life-of-a-payment.md")
OPEN, CLOSE = "```mermaid\n", "```\n"

WORDS = {
    (State.RESERVED, State.RESERVED): "about to be sent (on_lost_answer settle)",
    (State.RESERVED, State.SERVED): "answer recorded",
    (State.RESERVED, State.SETTLING): "settle before, or a lost answer that is paid for",
    (State.RESERVED, State.RELEASED): "nothing sold",
    (State.RELEASED, State.RESERVED): "the same request again",
    (State.SERVED, State.SETTLING): "taken up by the sender",
    (State.SETTLING, State.SETTLING): "taken up again",
    (State.SETTLING, State.SETTLED): "Transfer proven",
    (State.SETTLING, State.REFUSED): "proof that it cannot be paid",
    (State.SETTLING, State.UNKNOWN): "no evidence in time",
    (State.UNKNOWN, State.UNKNOWN): "news, but no outcome",
    (State.UNKNOWN, State.SETTLED): "evidence",
    (State.UNKNOWN, State.REFUSED): "evidence",
    (State.REFUSED, State.SETTLED): "evidence",
    (State.SETTLED, State.SERVING): "handed out, or fetched again",
    (State.SETTLED, State.REFUND_DUE): "nobody handed it out",
    (State.SERVING, State.SETTLED): "on its way",
    (State.SERVING, State.REFUND_DUE): "nothing came of it",
    (State.REFUND_DUE, State.SERVING): "redeemed",
}
"""What every step means; one for each pair of the table."""


def diagram() -> str:
    """The state diagram."""
    lines = ["stateDiagram-v2", "    [*] --> reserved: claimed"]
    for state, targets in TRANSITIONS.items():
        lines += [f"    {state} --> {to}: {WORDS[state, to]}" for to in sorted(targets)]
    return "\n".join(lines) + "\n"


def drawn(page: str) -> str:
    """The page with the diagram of now."""
    before, _, rest = page.partition(OPEN)
    return before + OPEN + diagram() + CLOSE + rest.partition(CLOSE)[2]


if __name__ == "__main__":
    sys.stdout.write(f"{PAGE}: drawn\n")
    PAGE.write_text(drawn(PAGE.read_text()))

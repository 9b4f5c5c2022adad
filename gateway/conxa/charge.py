"""One charge: what was used, whose session pays, and what CONXA said. It is the payment's note.

It is recorded in the step that records the answer, so that a charge is always sent with the numbers and
the key it was first sent with.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

import orjson

from gateway.headers import Field

_FOR_PAGES: tuple[Field, ...] = (
    (b"Access-Control-Expose-Headers", b"X-Conxa-Tokens, X-Conxa-Balance, X-Conxa-Estimated"),
    (b"Vary", b"X-Tollway-Connection, X-Provider-Session"),
)
"""What a page of another origin may read of it, and whose answer it is."""


@dataclass(frozen=True, slots=True)
class Charge:
    """Tokens are the model's; balances are the wallet's."""

    model: str
    input_tokens: int
    output_tokens: int
    estimated: bool = False
    session: str = field(default="", repr=False)
    """The session's token, until the charge has an outcome."""
    number: int = 0
    """How often it was refused; every try after a refusal has a key of its own."""
    doubtful: bool = False
    """Whether a try of this number had no answer: the wallet may have been charged."""
    again_at: float = 0.0
    """Unix seconds before which a debt is not asked for again."""
    prepaid: int = 0
    """Input tokens that were charged before the upstream was asked."""
    balance: int | None = None
    error_code: str | None = None

    @property
    def due(self) -> tuple[int, int]:
        """Input and output tokens that are still to be charged."""
        return max(0, self.input_tokens - self.prepaid), self.output_tokens

    def note(self) -> bytes:
        """As it is kept with the payment."""
        return orjson.dumps(asdict(self))


def read_charge(note: bytes) -> Charge:
    """What ``Charge.note`` wrote."""
    return Charge(**orjson.loads(note))


def told(note: bytes) -> list[Field]:
    """``X-Conxa-Tokens`` and ``X-Conxa-Balance`` of an answer that is paid for."""
    if not note:
        return []
    charge = read_charge(note)
    tokens = f"in={charge.input_tokens};out={charge.output_tokens}"
    fields: list[Field] = [*_FOR_PAGES, (b"X-Conxa-Tokens", tokens.encode())]
    if charge.balance is not None:
        fields.append((b"X-Conxa-Balance", str(charge.balance).encode()))
    if charge.estimated:
        fields.append((b"X-Conxa-Estimated", b"true"))
    return fields

"""Rules for what goes wrong, and which of them is next."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Endpoint = Literal["charge", "status", "health", "wallet"]
Kind = Literal[
    "hang_before",
    "hang_after",
    "reset_before",
    "reset_after",
    "status_before",
    "status_after",
    "rate_limit",
    "slow",
    "garbage",
    "bad_envelope",
]
"""``..._before``: the call has no effect; ``..._after``: it has, and its answer is lost.

``hang`` never answers, ``reset`` resets the connection, ``status`` answers ``code``. ``rate_limit`` is a 429
with no effect. ``slow`` lets ``seconds`` pass while the call is in progress. ``garbage`` (200, no JSON) and
``bad_envelope`` (200, an object with none of the fields) are answered by a call that had its effect.
"""
BEFORE: frozenset[Kind] = frozenset({"hang_before", "reset_before", "status_before", "rate_limit"})
"""Every other kind but ``slow`` takes place after the call."""


class Rule(BaseModel):
    """One thing going wrong: ``count`` times, with ``probability`` each time; once if neither is given."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    on: Endpoint
    kind: Kind
    count: Annotated[int, Field(gt=0)] | None = None
    probability: Annotated[float, Field(gt=0, le=1)] | None = None
    seed: int = 0
    code: Annotated[int, Field(ge=400, le=599)] = 500
    """The HTTP status of ``status_before`` and ``status_after``."""
    message: str = "Something went wrong"
    error_code: str | None = None
    retry_after: int | None = None
    """Seconds; None: the answer does not say when to come back."""
    http_date: bool = False
    """Whether ``Retry-After`` is written as a date."""
    seconds: Annotated[float, Field(ge=0)] = 0.2


@dataclass(slots=True)
class _Armed:
    rule: Rule
    left: int | None
    dice: random.Random

    def strikes(self, on: Endpoint) -> bool:
        if self.rule.on != on or self.left == 0:
            return False
        if self.rule.probability is not None and self.dice.random() >= self.rule.probability:
            return False
        if self.left is not None:
            self.left -= 1
        return True


class Faults:
    """The rules in force; of several that fit a call, the first one strikes."""

    def __init__(self) -> None:
        self._armed: list[_Armed] = []

    def add(self, rule: Rule) -> None:
        """Puts a rule after the others."""
        once = rule.count is None and rule.probability is None
        self._armed.append(_Armed(rule, 1 if once else rule.count, random.Random(rule.seed)))

    def clear(self) -> None:
        """From now on nothing goes wrong."""
        self._armed.clear()

    def take(self, on: Endpoint) -> Rule | None:
        """What goes wrong with this call."""
        return next((armed.rule for armed in self._armed if armed.strikes(on)), None)

"""What a rail brings into a lane: who sells by it, who pays, how its money fails, what it knows then."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from crash.clients import Buyers
from crash.evidence import Evidence, Execution, Rule
from crash.wants import Payer, Want


class Rail(Protocol):
    """One lane's way to pay; it lives as long as the lane, whatever happens to the gateway."""

    name: str
    """Of what fails, in the report."""
    streams: bool
    """Whether what is settled later comes as events."""
    rules: Sequence[Rule]
    """What its evidence must hold besides what every rail's must."""

    def config(self, moments: Sequence[str]) -> dict[str, Any]:
        """Its sections of the gateway's configuration, with a route for each moment."""

    def payer(self, number: int) -> Payer:
        """One of those who pay; nobody runs out of money."""

    def buyers(self, url: str) -> Buyers:
        """Everybody who buys from the gateway at ``url``."""

    def fail(self, fault: str) -> None:
        """The money's side goes wrong until ``mend``."""

    def mend(self) -> None:
        """From now on nothing goes wrong."""

    def evidence(
        self, wants: Sequence[Want], ledger: Sequence[dict[str, Any]], executions: Sequence[Execution]
    ) -> Evidence:
        """With what the money's side knows."""

    def told(self) -> str:
        """What is worth a line in the report; may be empty."""

    def close(self) -> None:
        """Nothing of it goes on."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of rail, and what a plan may do to it."""

    faults: Sequence[str]
    fault_rate: float
    """How much of the cycles has one."""
    opened: Callable[[], AbstractContextManager[Callable[[], Rail]]]
    """What all lanes share; gives each its rail."""

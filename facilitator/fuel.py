"""Whether the settlement keys can pay for gas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from facilitator.base import VerificationUnavailable
from facilitator.chain import ChainClient, block_of
from facilitator.fees import ceiling, first
from facilitator.rpc import quantity

RESERVE = 20
"""Settlements a key must be able to pay for to be given new ones."""

_GAS = 120_000
"""Units of gas a settlement is taken to need, until one is known to need more."""


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at a chain showed."""

    up: bool
    """An endpoint of the right chain answered."""
    detail: str
    """Why not; no secrets."""
    balances: Mapping[str, int]
    """Wei by sender, as ``Outgoing.sender`` names them; the last ones known while the chain is down."""


class Fuel:
    """The native balances of one chain's keys against the present price of a settlement."""

    def __init__(self, client: ChainClient, senders: Sequence[str]) -> None:
        self._client = client
        self._senders = tuple(senders)
        self._balances: dict[str, int] = {}
        self._price = 0
        self._gas = _GAS

    async def look(self) -> Look:
        """Ask for balances and fees; never raises for a chain that is down."""
        addresses = [sender.rpartition(":")[2] for sender in self._senders]
        try:
            header, priority, *balances = await self._client.rpc.batch(
                [
                    ("eth_getBlockByNumber", ("latest", False)),
                    ("eth_maxPriorityFeePerGas", ()),
                    *(("eth_getBalance", (address, "latest")) for address in addresses),
                ]
            )
            cap = ceiling(self._client.chain.max_fee_gwei)
            fees = first(block_of(header, "latest").base_fee, quantity(priority), cap)
            self._balances = dict(zip(self._senders, map(quantity, balances), strict=True))
            self._price = fees.most if fees is not None else cap
        except VerificationUnavailable as error:
            return Look(False, str(error), dict(self._balances))
        return Look(True, "", dict(self._balances))

    def note(self, gas: int) -> None:
        """A settlement was given this much gas."""
        self._gas = max(self._gas, gas)

    def left(self) -> dict[str, int]:
        """How many settlements each sender can pay for (``RESERVE`` where gas is free); empty until
        somebody looked."""
        price = self._gas * self._price
        return {sender: balance // price if price else RESERVE for sender, balance in self._balances.items()}

    def fueled(self) -> bool:
        """Whether any key has enough for new work; taken to be so until somebody looked."""
        left = self.left()
        return not left or max(left.values()) >= RESERVE

    def fit(self) -> list[str]:
        """The senders that may be given new work: those with enough, else those with any, else all."""
        left = self.left()
        for enough in (RESERVE, 1):
            found = [sender for sender in self._senders if left.get(sender, RESERVE) >= enough]
            if found:
                return found
        return list(self._senders)

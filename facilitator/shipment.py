"""One transaction that settles several payments, followed once for all of them.

What became of each payment is read from the logs the transaction left: see :class:`Landed`. That the
transaction was mined proves nothing for any of them, and that a payment did not move with it refuses
nothing: then it is settled alone, by what :mod:`facilitator.settling` finds.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from facilitator.base import Due, Journal, Outgoing, VerificationUnavailable
from facilitator.lane import TEND
from facilitator.moves import Moves
from facilitator.testimony import replaced, shown

if TYPE_CHECKING:
    from facilitator.desk import Desk


_PAUSES = (0.0, 0.25, 0.5, 1.0, 2.0)
"""Seconds before each look at the other endpoints; then each payment is looked into by itself."""


@dataclass(frozen=True, slots=True)
class Landed:
    """What became of a shipment, as every endpoint that was heard shows it."""

    transaction: str = ""
    shows: Sequence[Moves] = ()
    needed: int = 1

    def paid(self, due: Due) -> bool:
        """Whether enough endpoints show that a payment's money moved."""
        asset, authorization = due.requirements.asset, due.exact.authorization
        return sum(each.paid(asset, authorization) for each in self.shows) >= self.needed


class Shipment:
    """A transaction on its way, with the raises of its fees."""

    def __init__(self, desk: Desk, journal: Journal, sent: Sequence[Outgoing]) -> None:
        """``sent``: everything recorded for one nonce of one sender, oldest first."""
        self._desk = desk
        self._journal = journal
        self._sent = list(sent)
        self._passengers = 0
        self._following: asyncio.Task[Landed] | None = None

    @property
    def transaction(self) -> str:
        """The last one that was sent."""
        return self._sent[-1].hash

    @property
    def payments(self) -> int:
        """How many it is for."""
        return len(self._sent[-1].payment_ids)

    async def landed(self, within: float) -> Landed | None:
        """What became of it, or None after ``within`` seconds. VerificationUnavailable when nobody can
        tell; what the journal raises passes through."""
        if self._following is None or _failed(self._following):
            self._following = asyncio.create_task(self._follow())
        following = self._following
        self._passengers += 1
        try:
            await asyncio.wait((following,), timeout=max(within, 0))
            return following.result() if following.done() else None
        finally:
            self._passengers -= 1
            if not self._passengers:
                following.cancel()

    async def _follow(self) -> Landed:
        """Wait until it is mined, or cannot be any more, looking after its lane meanwhile."""
        early = True
        while True:
            hashes = [each.hash for each in self._sent]
            receipt = await self._desk.receipts.wait(hashes, TEND, early=early, weight=self.payments)
            early = False
            if receipt is not None:
                return await self._heard(receipt["transactionHash"].lower(), Moves(receipt))
            with contextlib.suppress(VerificationUnavailable):
                if await self._tend() and await replaced(self._desk.client.apart(), self._sent):
                    await self._close()
                    return Landed()

    async def _tend(self) -> bool:
        """Look after the lane; whether this nonce is mined, by this or by another."""
        sender, nonce = self._sent[0].sender, self._sent[0].nonce
        lane = self._desk.lane(sender)
        await lane.tend(await self._desk.signer(), self._journal)
        recorded = await self._journal.of(self._sent[0].payment_ids[0])
        self._sent = [each for each in recorded if (each.sender, each.nonce) == (sender, nonce)] or self._sent
        return lane.passed(nonce)

    async def _heard(self, transaction: str, seen: Moves) -> Landed:
        """It is mined, says the first endpoint that was asked; where there are more, two must say so."""
        clients = self._desk.client.apart()
        shows, needed = [seen], min(2, len(clients))
        for pause in _PAUSES[: len(_PAUSES) if needed > 1 else 0]:
            await asyncio.sleep(pause)
            shows = await shown(clients, transaction)
            if len(shows) >= needed:
                break
        if len(shows) >= needed:
            self._desk.together.judge(self.payments, len(shows[0]))
            await self._close()
        return Landed(transaction, shows, needed)

    async def _close(self) -> None:
        for outgoing in self._sent:
            await self._journal.close(outgoing)


def _failed(task: asyncio.Task[Landed]) -> bool:
    """Ended, and not with an answer: it may be asked again."""
    return task.cancelling() > 0 or (task.done() and (task.cancelled() or task.exception() is not None))

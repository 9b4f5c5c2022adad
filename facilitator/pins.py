"""What is remembered of a payment that was given away: to whom, and what was said of it.

It is kept in the settlement's journal, beside what our own keys send. A pin's place among
others is its number; of two with one number the first recorded counts, as a record that
seemed to have failed may be there all the same. Where nobody ever tried to record anything
before, what we recorded is all there is, and need not be read.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import orjson

from facilitator.base import Due, Journal, Outgoing

_PIN = "pin:"
_MOST_TOLD = 4
"""Transactions a facilitator's word is recorded for."""


def known(transaction: str) -> bool:
    """Whether what an Unknown names is a transaction: it is not where nobody has told one yet."""
    return bool(transaction) and not transaction.startswith(_PIN)


@dataclass(frozen=True, slots=True)
class Pin:
    """Which facilitator has a payment."""

    url: str
    unused_at: int | None
    """A block in which its authorization was unused before; None where there are no blocks of ours."""
    number: int
    """Facilitators that could not be reached before."""


class Pins:
    """The records of one payment."""

    def __init__(self, due: Due, journal: Journal) -> None:
        self._due = due
        self._journal = journal
        self._sure = journal.untouched(due.payment_id)
        """Whether ``_ours`` is everything there is."""
        self._ours: list[Outgoing] = []
        self.pin: Pin | None = None
        self.told: list[str] = []
        """Transactions that its facilitator named."""

    async def read(self) -> None:
        """What is recorded."""
        ours = await self._recorded()
        pins = [Pin(**orjson.loads(record.raw)) for record in ours if record.hash.startswith(_PIN)]
        self.pin = max(pins, key=lambda pin: pin.number, default=None)
        self.told = [record.hash for record in ours if not record.hash.startswith(_PIN)]

    async def record(self, pin: Pin) -> bool:
        """Make it durable that a facilitator is to have the payment: before it has. False when this
        process is not the queue's one sender. It is ``pin`` that counts then, not what was given."""
        recorded = await self._record(self._outgoing(pin.number, self._standin(), orjson.dumps(pin)))
        if recorded and self._sure:
            self.pin = pin
        elif recorded:
            await self.read()
        return recorded

    async def note(self, transaction: str) -> None:
        """Remember what its facilitator named: such a transaction is ours, whatever the clocks say."""
        if transaction and transaction not in self.told and len(self.told) < _MOST_TOLD:
            self.told.append(transaction)
            await self._record(self._outgoing(0, transaction, b""))

    async def close(self) -> None:
        """It has an outcome: what was found recorded may be open, by an earlier version."""
        for record in self._ours:
            if record.open:
                await self._journal.close(record)

    @property
    def name(self) -> str:
        """What an Unknown is to name: the last transaction told, or what stands for it; nothing while
        nobody has the payment."""
        if self.pin is None:
            return ""
        return self.told[-1] if self.told else self._standin()

    async def _recorded(self) -> list[Outgoing]:
        if not self._sure:
            records = await self._journal.of(self._due.payment_id)
            self._ours = [record for record in records if record.sender == self._due.sender]
        return self._ours

    async def _record(self, outgoing: Outgoing) -> bool:
        sure, self._sure = self._sure, False
        recorded = await self._journal.record(outgoing)
        if recorded:
            self._sure = sure
            self._ours.append(outgoing)
        return recorded

    def _outgoing(self, number: int, transaction: str, raw: bytes) -> Outgoing:
        return Outgoing(self._due.sender, number, transaction, raw, (self._due.payment_id,), open=False)

    def _standin(self) -> str:
        return _PIN + hashlib.sha256(self._due.payment_id.encode()).hexdigest()[:32]

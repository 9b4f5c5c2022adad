"""Where one chain's payments are settled: together where they can be, else alone."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from facilitator.base import (
    AT_ONCE,
    Due,
    Journal,
    Outgoing,
    Settled,
    Settlement,
    Unknown,
    VerificationUnavailable,
)
from facilitator.batching import Packer, Together
from facilitator.chain import ChainClient
from facilitator.fuel import Fuel
from facilitator.lane import Lane
from facilitator.packing import Batches
from facilitator.receipts import Receipts
from facilitator.settling import Alone
from facilitator.shipment import Shipment

if TYPE_CHECKING:
    from facilitator.signer import Signer

TOGETHER = 4096
"""Settlements of one chain under way at once where they travel together."""


class Desk:
    """One chain's client, its keys' lanes, its receipts; whoever comes is settled here."""

    def __init__(
        self,
        client: ChainClient,
        addresses: Sequence[str],
        signer: Callable[[], Awaitable[Signer]],
        batches: Batches,
        told: Callable[[bool], None],
    ) -> None:
        """``addresses`` of our keys, lower-case; ``signer`` loads what signs and sends. ``told`` hears once
        whether payments can travel together on this chain."""
        self.client = client
        self.addresses = addresses
        self.signer = signer
        self.receipts = Receipts(client)
        self.senders = [f"{client.chain.caip2}:{each}" for each in addresses]
        self.fuel = Fuel(client, self.senders)
        self.together = Together(client, batches, told)
        self._lanes = {sender: Lane(sender, client) for sender in self.senders}
        self._packers: dict[str, Packer] = {}
        self._shipments: WeakValueDictionary[tuple[int, str, int], Shipment] = WeakValueDictionary()
        self._alone = asyncio.Semaphore(AT_ONCE)

    def sender_for(self, payment_id: str) -> str:
        """The same key for the same payment, as long as the keys with enough gas stay the same."""
        spread = int.from_bytes(hashlib.sha256(payment_id.encode()).digest()[:8], "big")
        fit = self.fuel.fit()
        return fit[spread % len(fit)]

    def lane(self, sender: str) -> Lane:
        """A sender's lane. One without a key here can only send again what is recorded."""
        return self._lanes.setdefault(sender, Lane(sender, self.client))

    def lane_for(self, due: Due) -> Lane:
        """The lane a payment goes out from: its queue's, or another where we no longer have that key."""
        return self.lane(due.sender if due.sender in self.senders else self.sender_for(due.payment_id))

    def at_once(self) -> int:
        """How many settlements of one key may be under way."""
        return TOGETHER // len(self.senders) if self.together.likely else AT_ONCE

    def shipment(self, journal: Journal, sent: Sequence[Outgoing]) -> Shipment:
        """What follows shared transactions of one nonce, for all their payments together."""
        key = id(journal), sent[0].sender, sent[0].nonce
        return self._shipments.get(key) or self._shipments.setdefault(key, Shipment(self, journal, sent))

    async def settle(self, due: Due, journal: Journal) -> Settlement:
        """See :class:`facilitator.base.Facilitator`."""
        packer = self._packer(self.lane_for(due))
        packer.settling += 1
        try:
            return await self._settle(packer, due, journal)
        finally:
            packer.settling -= 1

    async def _settle(self, packer: Packer, due: Due, journal: Journal) -> Settlement:
        deadline = time.monotonic() + self.client.chain.settle_within
        shipment, down = None, False
        try:
            if await self.together.possible():
                shipment = await packer.ship(due, journal)
        except VerificationUnavailable:
            down = True
        sent = await _recorded(journal, due) if shipment is None else []
        if down and not sent:
            return Unknown()
        shipment = shipment or self._shared(journal, sent)
        if shipment is not None:
            settlement = await _in_company(shipment, due, deadline)
            if settlement is not None:
                return settlement
            sent = await journal.of(due.payment_id)
        async with self._alone:
            if time.monotonic() >= deadline:
                return Unknown(sent[-1].hash if sent else "")
            return await Alone(self, due, journal, sent, deadline).run()

    def _packer(self, lane: Lane) -> Packer:
        packer = self._packers.get(lane.sender)
        if packer is None:
            packer = self._packers[lane.sender] = Packer(self, lane)
        return packer

    def _shared(self, journal: Journal, sent: Sequence[Outgoing]) -> Shipment | None:
        """The shared transaction that was recorded last for a payment, if nothing came after it."""
        if not sent or not sent[-1].shared:
            return None
        place = sent[-1].sender, sent[-1].nonce
        return self.shipment(journal, [each for each in sent if (each.sender, each.nonce) == place])


async def _recorded(journal: Journal, due: Due) -> list[Outgoing]:
    """Everything recorded for a payment, by us a moment ago too."""
    return [] if journal.untouched(due.payment_id) else await journal.of(due.payment_id)


async def _in_company(shipment: Shipment, due: Due, deadline: float) -> Settlement | None:
    """What became of a payment in a shared transaction; None when that is to be found out for it alone."""
    try:
        landed = await shipment.landed(deadline - time.monotonic())
    except VerificationUnavailable:
        return Unknown(shipment.transaction)
    if landed is None:
        return Unknown(shipment.transaction)
    return Settled(landed.transaction) if landed.paid(due) else None

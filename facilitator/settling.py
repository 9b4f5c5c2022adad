"""One settlement, from what is recorded to what the chain proves.

Payments that are due together travel together (:mod:`facilitator.batching`), and what became of them is
found out once for all (:mod:`facilitator.shipment`). Whoever is not in a batch, and whomever a batch left
behind, takes the steps here, alone. After a batch that is when none of what is recorded can be mined any
more to its effect: endpoints agree that the batch is mined, confirmed, and did not use the authorization,
or that another transaction took its nonce. It is refused only by what its own simulation says then.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

from facilitator import token_abi
from facilitator.base import (
    Due,
    Journal,
    Outgoing,
    Refused,
    Settled,
    Settlement,
    Unknown,
    VerificationUnavailable,
)
from facilitator.chain import Receipt, Snapshot
from facilitator.lane import TEND, Lane, Transfer
from facilitator.testimony import Case, hear, left_behind, replaced

if TYPE_CHECKING:
    from facilitator.desk import Desk
    from facilitator.signer import Delivery

_TRIES = 2
"""Fresh transactions in one call: a second one only when the first one's nonce was taken."""

_PAUSES = (0.25, 0.5, 1.0, 2.0)
"""Seconds between two hearings of the endpoints; the last one again and again."""


class Alone:
    """The steps of one payment that goes alone; ``_sent`` is everything recorded for it."""

    def __init__(self, desk: Desk, due: Due, journal: Journal, sent: list[Outgoing], deadline: float) -> None:
        self._desk = desk
        self._client = desk.client
        self._due = due
        self._journal = journal
        self._sent = list(sent)
        self._deadline = deadline
        self._left_behind: set[tuple[str, int]] = set()
        """Places of batches that are mined, without this payment."""

    async def run(self) -> Settlement:
        try:
            settlement = await self._go_on() if self._sent else None
            settlement = settlement or await self._start()
        except VerificationUnavailable:
            settlement = None
        return self._unknown() if settlement is None or settlement == Unknown() else settlement

    async def _go_on(self) -> Settlement | None:
        """Evidence first, then the recorded bytes again; None when none of them can be mined any more."""
        heard = await self._hear()
        if not isinstance(heard, Unknown):
            return heard
        signer = await self._desk.signer()
        # Batches are their lane's to send again: it does for all of them at once.
        alone = [outgoing for outgoing in self._newest() if not outgoing.shared]
        deliveries = [await signer.spread(outgoing.raw) for outgoing in alone]
        if all(delivery.stale for delivery in deliveries) and await self._replaced():
            return None
        return await self._follow()

    async def _start(self) -> Settlement | None:
        for _ in range(_TRIES):
            lane = self._desk.lane_for(self._due)
            seen = await self._client.snapshot(
                self._due.exact, self._due.requirements, lane.address, estimate=True
            )
            if seen.nonce_used:
                return await self._await_verdict()
            if seen.refused is not None:
                # Once something of ours is public only evidence is proof: somebody may yet send it.
                return Unknown() if self._sent else seen.refused
            delivery = await self._send(lane, seen)
            if delivery is None:
                return None
            if delivery.stale and await self._replaced():
                continue
            outcome = await self._follow()
            if outcome is not None:
                return outcome
        return None

    async def _send(self, lane: Lane, seen: Snapshot) -> Delivery | None:
        """None when nothing was sent: no gas estimate, gas above the cap, no money for gas, or this is
        not the key's one sender."""
        signer = await self._desk.signer()
        fees = await signer.fees(seen.block.base_fee)
        if seen.gas is None or fees is None:
            return None
        gas = seen.gas * 5 // 4
        if seen.fuel < (lane.ahead(seen.mined) + 1) * gas * fees.most:
            return None
        payload, due = self._due.exact, self._due
        data = token_abi.transfer_with_authorization(payload.authorization, payload.signature)
        transfer = Transfer((due.payment_id,), due.requirements.asset, data, gas, fees)
        sent = await lane.send(signer, self._journal, transfer)
        if sent is None:
            return None
        self._sent.append(sent[0])
        self._desk.fuel.note(gas)
        return sent[1]

    async def _follow(self) -> Settlement | None:
        """Wait for what is recorded to be mined, looking after its lanes meanwhile; None when none of it
        can be mined any more."""
        early = True
        while True:
            within = min(self._left(), TEND)
            receipt = await self._desk.receipts.wait(self._hashes(), within, early=early)
            early = False
            if receipt is not None:
                return await self._conclude(receipt)
            if self._left() <= 0:
                return Unknown()
            with contextlib.suppress(VerificationUnavailable):
                if await self._tend() and await self._replaced():
                    return None

    async def _tend(self) -> bool:
        """Look after the lanes; whether all our nonces are mined, by ours or by others."""
        signer = await self._desk.signer()
        for sender in {outgoing.sender for outgoing in self._sent}:
            await self._desk.lane(sender).tend(signer, self._journal)
        self._sent = await self._journal.of(self._due.payment_id)
        return all(self._desk.lane(each.sender).passed(each.nonce) for each in self._sent)

    async def _conclude(self, receipt: Receipt) -> Settlement:
        """What a mined transaction of ours means."""
        if len(self._client.apart()) == 1 and self._case().proven_by(receipt):
            mined = receipt["transactionHash"].lower()
            await self._close(mined)
            return Settled(mined)
        return await self._await_verdict()

    async def _await_verdict(self) -> Settlement:
        """Ask until the endpoints agree or time is up."""
        pauses = iter(_PAUSES)
        while True:
            heard = await self._hear()
            if not isinstance(heard, Unknown) or self._left() <= 0:
                return heard
            await asyncio.sleep(min(next(pauses, _PAUSES[-1]), max(self._left(), 0)))

    async def _hear(self) -> Settlement:
        """What the endpoints say, of everything that is recorded.

        A record that timed out may have come about all the same, and may have been sent by its lane:
        it is there before the chain can show its effect, so it is looked for after.
        """
        heard = await hear(self._client.apart(), self._case())
        while isinstance(heard, Refused):
            recorded = await self._journal.of(self._due.payment_id)
            if len(recorded) == len(self._sent):
                break
            self._sent = recorded
            heard = await hear(self._client.apart(), self._case())
        if not isinstance(heard, Unknown):
            await self._close_mined()
        return heard

    async def _replaced(self) -> bool:
        """Whether other transactions took all our nonces, or batches that left this payment behind; then
        ours need no more care."""
        clients = self._client.apart()
        for outgoing in self._newest():
            group = [each for each in self._sent if _place(each) == _place(outgoing)]
            if await replaced(clients, group):
                continue
            if not outgoing.shared or not await left_behind(clients, self._case(), group):
                return False
            self._left_behind.add(_place(outgoing))
        for outgoing in self._sent:
            await self._journal.close(outgoing)
        return True

    async def _close(self, transaction: str) -> None:
        """A mined transaction needs no more care, nor do those it replaced."""
        mined = {_place(outgoing) for outgoing in self._sent if outgoing.hash == transaction}
        for outgoing in self._sent:
            if _place(outgoing) in mined:
                await self._journal.close(outgoing)

    async def _close_mined(self) -> None:
        """The same where we do not know which: what still waits is left to its lane."""
        for sender in {outgoing.sender for outgoing in self._sent}:
            try:
                counts = await self._client.counts(sender.rpartition(":")[2])
            except VerificationUnavailable:
                continue
            for outgoing in self._sent:
                if outgoing.sender == sender and outgoing.nonce < counts.mined:
                    await self._journal.close(outgoing)

    def _newest(self) -> list[Outgoing]:
        """Of transactions with one nonce, the last one recorded."""
        return list({_place(outgoing): outgoing for outgoing in self._sent}.values())

    def _hashes(self) -> list[str]:
        """What is worth waiting for."""
        return [each.hash for each in self._sent if _place(each) not in self._left_behind]

    def _case(self) -> Case:
        return Case(self._due, tuple(self._sent), self._desk.addresses)

    def _left(self) -> float:
        return self._deadline - time.monotonic()

    def _unknown(self) -> Unknown:
        return Unknown(self._sent[-1].hash if self._sent else "")


def _place(outgoing: Outgoing) -> tuple[str, int]:
    return outgoing.sender, outgoing.nonce

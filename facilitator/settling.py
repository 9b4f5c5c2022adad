"""One settlement, from what is recorded to what the chain proves."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Awaitable, Callable, Sequence
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
from facilitator.chain import ChainClient, Snapshot
from facilitator.evidence import judge_used
from facilitator.lane import Lane, Transfer
from facilitator.receipts import Receipt, Receipts

if TYPE_CHECKING:
    from facilitator.signer import Delivery, Signer

TRANSFER_MISMATCH = "invalid_exact_evm_transfer_event_mismatch"
TRANSACTION_FAILED = "transaction_failed"

_TRIES = 2
"""Fresh transactions in one call: a second one only when the first one's nonce was taken."""


class Desk:
    """Where one chain's payments are settled: its client, its keys' lanes, its receipts."""

    def __init__(
        self, client: ChainClient, addresses: Sequence[str], signer: Callable[[], Awaitable[Signer]]
    ) -> None:
        """``addresses`` of our keys, lower-case; ``signer`` loads what signs and sends."""
        self.client = client
        self.addresses = addresses
        self.signer = signer
        self.receipts = Receipts(client)
        senders = [f"{client.chain.caip2}:{each}" for each in addresses]
        self.lanes = {sender: Lane(sender) for sender in senders}

    def lane_for(self, payment_id: str) -> Lane:
        """The same lane for the same payment, as long as the keys stay the same."""
        spread = int.from_bytes(hashlib.sha256(payment_id.encode()).digest()[:8], "big")
        return list(self.lanes.values())[spread % len(self.lanes)]

    async def settle(self, due: Due, journal: Journal) -> Settlement:
        """See :class:`facilitator.base.Facilitator`."""
        return await _Settling(self, due, journal, await journal.of(due.payment_id)).run()


class _Settling:
    """The steps of one call of ``settle``; ``_sent`` is everything recorded for the payment."""

    def __init__(self, desk: Desk, due: Due, journal: Journal, sent: list[Outgoing]) -> None:
        self._desk = desk
        self._client = desk.client
        self._due = due
        self._journal = journal
        self._sent = list(sent)
        self._deadline = time.monotonic() + desk.client.chain.settle_within

    async def run(self) -> Settlement:
        try:
            return await self._resend() or await self._start() or self._unknown()
        except VerificationUnavailable:
            return self._unknown()

    async def _resend(self) -> Settlement | None:
        """Follow what is recorded; None when nothing is, or none of it can be mined any more."""
        for outgoing in reversed(self._sent):
            signer = await self._desk.signer()
            outcome = await self._follow(outgoing, await signer.send(outgoing.raw))
            if outcome is not None:
                return outcome
        return None

    async def _start(self) -> Settlement | None:
        for _ in range(_TRIES):
            seen = await self._snapshot(estimate=True)
            if seen.nonce_used:
                return await self._judge()
            if seen.refused is not None:
                return seen.refused
            sent = await self._send(seen)
            if sent is None:
                return None
            outcome = await self._follow(*sent)
            if outcome is not None:
                return outcome
        return None

    async def _send(self, seen: Snapshot) -> tuple[Outgoing, Delivery] | None:
        """None when nothing was sent: no gas estimate, gas above the cap, or not the key's one sender."""
        signer = await self._desk.signer()
        fees = await signer.fees(seen.block.base_fee)
        if seen.gas is None or fees is None:
            return None
        payload, due = self._due.payload, self._due
        data = token_abi.transfer_with_authorization(payload.authorization, payload.signature)
        transfer = Transfer(due.payment_id, due.requirements.asset, data, seen.gas * 5 // 4, fees)
        sent = await self._desk.lane_for(due.payment_id).send(signer, self._journal, transfer)
        if sent is not None:
            self._sent.append(sent[0])
        return sent

    async def _follow(self, outgoing: Outgoing, delivery: Delivery) -> Settlement | None:
        """Wait for a transaction and judge it; None when it can never be mined."""
        if not delivery.arrived:
            return self._unknown()
        address = outgoing.sender.rpartition(":")[2]
        stale = not delivery.accepted
        if stale and await self._client.replaced(outgoing.hash, address, outgoing.nonce):
            await self._journal.close(outgoing)
            return None
        receipt = await self._desk.receipts.wait(outgoing.hash, self._deadline - time.monotonic())
        if receipt is None:
            return self._unknown()
        settlement = await self._conclude(outgoing, receipt)
        if not isinstance(settlement, Unknown):
            await self._journal.close(outgoing)
        return settlement

    async def _conclude(self, outgoing: Outgoing, receipt: Receipt) -> Settlement:
        """What a mined transaction of ours means."""
        if token_abi.proves_transfer(receipt, self._due.requirements.asset, self._due.payload.authorization):
            return Settled(outgoing.hash)
        seen = await self._snapshot(estimate=False)
        if seen.nonce_used:
            return await self._judge()
        if seen.refused is not None:
            return seen.refused
        return Refused(TRANSFER_MISMATCH if receipt.get("status") == "0x1" else TRANSACTION_FAILED)

    async def _judge(self) -> Settlement:
        recorded = {outgoing.hash for outgoing in self._sent}
        settlement = await judge_used(self._client, self._due, recorded, self._desk.addresses)
        return self._unknown() if settlement == Unknown() else settlement

    async def _snapshot(self, *, estimate: bool) -> Snapshot:
        return await self._client.snapshot(
            self._due.payload, self._due.requirements, self._desk.addresses[0], estimate=estimate
        )

    def _unknown(self) -> Unknown:
        return Unknown(self._sent[-1].hash if self._sent else "")

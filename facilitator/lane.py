"""One key on one chain: transaction nonces without gaps, recorded before sent, one send at a time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from facilitator.base import Journal, Outgoing
from facilitator.rpc import RpcUnavailable

if TYPE_CHECKING:
    from facilitator.signer import Delivery, Fees, Signer


@dataclass(frozen=True, slots=True)
class Transfer:
    """A settlement call before it has a nonce."""

    payment_id: str
    token: str
    data: str
    gas: int
    fees: Fees


class Lane:
    """The order of one key's transactions.

    The next nonce is known only while every step before it is known to have worked; whatever
    goes wrong in between (the journal, the RPC, a cancelled task) makes the next transaction
    start from the records and the chain again, so that no nonce is left out and none sticks.
    """

    def __init__(self, sender: str) -> None:
        """``sender`` as in Outgoing: CAIP-2 chain and lower-case address."""
        self.sender = sender
        self.address = sender.rpartition(":")[2]
        self._lock = asyncio.Lock()
        self._next: int | None = None

    async def resume(self, signer: Signer, journal: Journal) -> None:
        """Forget what is known and send everything that is recorded and open again."""
        async with self._lock:
            await self._catch_up(signer, journal)

    async def send(
        self, signer: Signer, journal: Journal, transfer: Transfer
    ) -> tuple[Outgoing, Delivery] | None:
        """Give a transfer the next nonce, record it, send it; what was sent and what became of it.

        None when the journal says that this process is not the key's one sender: nothing was sent.
        RpcUnavailable, and whatever the journal raises, mean that nothing was sent either.
        """
        async with self._lock:
            nonce = self._next if self._next is not None else await self._catch_up(signer, journal)
            signed = signer.sign(
                self.address, transfer.token, transfer.data, transfer.gas, nonce, transfer.fees
            )
            outgoing = Outgoing(self.sender, nonce, signed.hash, signed.raw, transfer.payment_id)
            self._next = None
            if not await journal.record(outgoing):
                return None
            delivery = await signer.send(outgoing.raw)
            if delivery.accepted:
                self._next = nonce + 1
            return outgoing, delivery

    async def _catch_up(self, signer: Signer, journal: Journal) -> int:
        """The next nonce, after everything recorded is on its way.

        RpcUnavailable while the chain does not take what is recorded: more would only pile up.
        """
        self._next = None
        mined, pending = await signer.counts(self.address)
        last = -1
        for outgoing in await journal.open(self.sender):
            last = max(last, outgoing.nonce)
            if outgoing.nonce < mined:
                await journal.close(outgoing)
            elif not (await signer.send(outgoing.raw)).arrived:
                raise RpcUnavailable(f"{self.sender}: transaction {outgoing.nonce} is not taken")
        self._next = max(pending, last + 1)
        return self._next

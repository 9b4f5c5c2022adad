"""One key on one chain: transaction nonces without gaps, recorded before sent, one send at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING

from facilitator.base import Journal, Outgoing
from facilitator.chain import ChainClient, Counts
from facilitator.crashpoints import reach
from facilitator.rpc import RpcUnavailable

if TYPE_CHECKING:
    from facilitator.fees import Fees
    from facilitator.signer import Delivery, Signer

    Found = dict[str, Delivery]
    """What became of transactions that were sent again, by hash."""

TEND = 2.0
"""Seconds between two looks at what is under way."""

STUCK = 5.0
"""Seconds a transaction may be too cheap for its block, or for the pool, before its fees are raised."""

PATIENCE = 30.0
MOST = 256
"""Seconds without a mined transaction, and transactions under way, above which no more are added."""

_REMEMBERED = 512
_BYTES = 8 * 1024 * 1024
"""Transactions kept in memory after they were closed, and what they may take: a reorg may take them back."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """A settlement call before it has a nonce."""

    payment_ids: tuple[str, ...]
    to: str
    data: str
    gas: int
    fees: Fees


class Lane:
    """The order of one key's transactions.

    The next nonce is known only while every step before it is known to have worked; whatever
    goes wrong in between (the journal, the RPC, a cancelled task) makes the next transaction
    start from the records and the chain again, so that no nonce is left out and none sticks.
    """

    def __init__(self, sender: str, client: ChainClient) -> None:
        """``sender`` as in Outgoing: CAIP-2 chain and lower-case address."""
        self.sender = sender
        self.address = sender.rpartition(":")[2]
        self._client = client
        self._lock = asyncio.Lock()
        self._next: int | None = None
        self._last = -1
        """The highest nonce taken when the next one was found: below it there was a gap."""
        self._sent: dict[int, Outgoing] = {}
        self._mined = -1
        self._moved_at = 0.0
        self._stuck_since: dict[str, float] = {}
        self._tended = float("-inf")

    def ahead(self, mined: int) -> int:
        """Transactions sent beyond ``mined`` ones, as far as known."""
        return max(0, (self._next or 0) - mined)

    def passed(self, nonce: int) -> bool:
        """Whether, as last seen, a transaction with this nonce is mined."""
        return nonce < self._mined

    async def resume(self, signer: Signer, journal: Journal) -> None:
        """Forget what is known and send what is recorded, open and not on its way."""
        async with self._lock:
            await self._catch_up(signer, journal)

    async def tend(self, signer: Signer, journal: Journal) -> None:
        """Send again what got lost, and raise the fees of what is too cheap to be mined.

        Does nothing within ``TEND`` seconds of the last time. RpcUnavailable, and what the journal
        raises.
        """
        async with self._lock:
            if time.monotonic() - self._tended < TEND:
                return
            self._tended = time.monotonic()
            counts, under_way, _ = await self._mend(signer, journal)
            if self._next is not None and [each.nonce for each in under_way] != list(
                range(counts.mined, self._next)
            ):
                self._next = None

    async def send(
        self, signer: Signer, journal: Journal, transfer: Transfer
    ) -> tuple[Outgoing, Delivery] | None:
        """Give a transfer the next nonce, record it, send it; what was sent and what became of it.

        That is an earlier one where one is under way for any of its payments and its record seemed to
        have failed. None when the journal says that this process is not the key's one sender: nothing
        was sent.
        RpcUnavailable, and whatever the journal raises, mean that nothing was sent either; that is
        so while the oldest transaction cannot be mined, as more would only pile up.
        """
        async with self._lock:
            nonce = self._next
            if nonce is None:
                nonce = await self._catch_up(signer, journal)
                late = await self._under_way_for(transfer.payment_ids, journal)
                if late is not None:
                    return late, await signer.send(late.raw)
            await self._look_for_room(nonce)
            signed = signer.sign(self.address, transfer.to, transfer.data, transfer.gas, nonce, transfer.fees)
            outgoing = Outgoing(self.sender, nonce, signed.hash, signed.raw, transfer.payment_ids)
            self._next = None
            if not await journal.record(outgoing):
                return None
            delivery = await signer.send(outgoing.raw)
            reach("K7")
            self._remember(outgoing)
            if delivery.accepted and nonce >= self._last:
                self._next = nonce + 1
            return outgoing, delivery

    async def _under_way_for(self, payment_ids: Sequence[str], journal: Journal) -> Outgoing | None:
        """A transaction of ours for any of these payments whose record seemed to have failed."""
        known = payment_ids if len(payment_ids) == 1 else sorted(await journal.known(payment_ids))
        for payment_id in known:
            for each in await journal.of(payment_id):
                if each.sender == self.sender and not self.passed(each.nonce):
                    return each
        return None

    async def _catch_up(self, signer: Signer, journal: Journal) -> int:
        """The next nonce, after everything recorded is on its way.

        RpcUnavailable while the chain does not take what is recorded.
        """
        self._next = None
        counts, under_way, found = await self._mend(signer, journal)
        for outgoing in under_way:
            if outgoing.hash in found and not found[outgoing.hash].arrived:
                raise RpcUnavailable(f"{self.sender}: transaction {outgoing.nonce} is not taken")
        taken = {outgoing.nonce for outgoing in under_way}
        self._last = max(taken, default=-1)
        self._next = next(nonce for nonce in count(counts.pending) if nonce not in taken)
        return self._next

    async def _mend(self, signer: Signer, journal: Journal) -> tuple[Counts, list[Outgoing], Found]:
        """Send again what is missing and raise what is too cheap; what was under way before that."""
        counts = await self._client.counts(self.address)
        under_way = await self._under_way(journal, counts)
        found = await self._send_missing(signer, under_way)
        if signer.holds(self.address):
            stuck = self._stuck(signer, under_way, found, counts)
            await self._raise_fees(signer, journal, stuck, counts.head.base_fee)
        return counts, under_way, found

    async def _under_way(self, journal: Journal, counts: Counts) -> list[Outgoing]:
        """What is recorded or remembered and not mined: the newest of each nonce, lowest nonce first.

        What is final is closed: the payment that would close it may be gone.
        """
        self._note(counts)
        opened = await journal.open(self.sender)
        mined = [outgoing for outgoing in opened if outgoing.nonce < counts.mined]
        final = await self._client.final_count(self.address, counts.head) if mined else 0
        for outgoing in mined:
            if outgoing.nonce < final:
                await journal.close(outgoing)
        newest = self._sent | {outgoing.nonce: outgoing for outgoing in opened}
        return [newest[nonce] for nonce in sorted(newest) if nonce >= counts.mined]

    async def _send_missing(self, signer: Signer, under_way: Sequence[Outgoing]) -> Found:
        """Send again what the chain does not know, and the oldest, on which the others wait."""
        if not under_way:
            return {}
        missing = await self._client.unknown([outgoing.hash for outgoing in under_way])
        wanted = missing | {under_way[0].hash}
        return {each.hash: await signer.spread(each.raw) for each in under_way if each.hash in wanted}

    def _stuck(
        self, signer: Signer, under_way: Sequence[Outgoing], found: Found, counts: Counts
    ) -> list[Outgoing]:
        """Those that have been too cheap for ``STUCK`` seconds."""
        now = time.monotonic()
        cheap = {
            each.hash: each
            for each in under_way
            if signer.bid(each.raw) < counts.head.base_fee or (each.hash in found and found[each.hash].outbid)
        }
        self._stuck_since = {each: self._stuck_since.get(each, now) for each in cheap}
        return [each for each in cheap.values() if now - self._stuck_since[each.hash] >= STUCK]

    async def _raise_fees(
        self, signer: Signer, journal: Journal, stuck: Sequence[Outgoing], base_fee: int
    ) -> None:
        for outgoing in stuck:
            signed = signer.raise_fees(self.address, outgoing.raw, base_fee)
            if signed is None:
                continue
            dearer = replace(outgoing, hash=signed.hash, raw=signed.raw)
            if not await journal.record(dearer):
                return
            self._remember(dearer)
            await signer.send(dearer.raw)

    async def _look_for_room(self, nonce: int) -> None:
        """RpcUnavailable while too much is under way, or the oldest transaction waits for too long."""
        if not self._room(nonce):
            self._note(await self._client.counts(self.address))
        if not self._room(nonce):
            raise RpcUnavailable(f"{self.sender}: transaction {self._mined} is not mined")
        if nonce <= self._mined:
            self._moved_at = time.monotonic()

    def _room(self, nonce: int) -> bool:
        moved = time.monotonic() - self._moved_at < PATIENCE
        return nonce <= self._mined or (moved and nonce - self._mined < MOST)

    def _note(self, counts: Counts) -> None:
        if counts.mined != self._mined:
            self._mined, self._moved_at = counts.mined, time.monotonic()

    def _remember(self, outgoing: Outgoing) -> None:
        self._sent.pop(outgoing.nonce, None)
        self._sent[outgoing.nonce] = outgoing
        while len(self._sent) > _REMEMBERED or sum(len(each.raw) for each in self._sent.values()) > _BYTES:
            del self._sent[next(iter(self._sent))]

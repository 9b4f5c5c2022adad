"""The facilitator's journal, kept in the store, and what of it is known without asking."""

from __future__ import annotations

from collections.abc import Sequence

from facilitator.base import Outgoing
from gateway.payment import Payment, State
from gateway.store import Store


class StoreJournal:
    """The facilitator's journal, kept in the store under the sender's lease."""

    def __init__(self, store: Store, epoch: int) -> None:
        self._store = store
        self._epoch = epoch
        self._untouched: set[str] = set()

    def begin(self, payment: Payment) -> None:
        """A payment is going to be settled under this lease.

        Where this very look at the queue made it ``settling`` nobody was settling it before: nothing can
        have been recorded for it, and nothing will be but through this journal, for as long as this
        process has both leases. Without them it can neither record nor conclude anything.
        """
        if payment.history[-1:] == ((State.SETTLING, payment.read_at),):
            self._untouched.add(payment.id)

    def end(self, payment: Payment) -> None:
        """It is settled under this lease no more."""
        self._untouched.discard(payment.id)

    def untouched(self, payment_id: str) -> bool:
        """Not once a record was tried: one that seemed to fail may be there."""
        return payment_id in self._untouched

    async def record(self, transaction: Outgoing) -> bool:
        """Durable before it is sent; False when the lease went to somebody else."""
        self._untouched.difference_update(transaction.payment_ids)
        return await self._store.record_transaction(self._epoch, transaction)

    async def close(self, transaction: Outgoing) -> None:
        """No more care needed."""
        await self._store.close_transaction(transaction)

    async def open(self, sender: str) -> list[Outgoing]:
        """Recorded and not closed."""
        return await self._store.open_transactions(sender)

    async def of(self, payment_id: str) -> list[Outgoing]:
        """Everything recorded for one payment."""
        return await self._store.transactions_of(payment_id)

    async def known(self, payment_ids: Sequence[str]) -> frozenset[str]:
        """Those of these for which anything is recorded."""
        touched = [each for each in payment_ids if each not in self._untouched]
        return await self._store.recorded(touched) if touched else frozenset()

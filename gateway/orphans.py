"""Money that reached us by an authorization nobody here has a record of: found for the operator.

Whoever shows such an authorization gets the ordinary refusal; that it did pay us is worth an entry
in the ledger. One look at a time: it searches logs, and strangers can ask for it.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from facilitator.base import VerificationUnavailable
from facilitator.token_abi import NONCE_USED
from gateway.errors import StoreUnavailable
from gateway.observe import log
from gateway.payment import Orphan
from gateway.purchase import Purchase
from gateway.store import Store


class Orphans:
    """Looks, in the background, where a used authorization's money went."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._looking: asyncio.Task[None] | None = None

    def suspect(self, purchase: Purchase, reason: str) -> None:
        """A credential was refused; where its nonce was used before, that may have been to pay us."""
        if reason == NONCE_USED and (self._looking is None or self._looking.done()):
            self._looking = asyncio.create_task(self._look(purchase))

    async def _look(self, purchase: Purchase) -> None:
        with suppress(VerificationUnavailable, StoreUnavailable):
            transaction = await purchase.rail.find_paid(purchase.credential)
            if transaction is None:
                return
            credential = purchase.credential
            orphan = Orphan(
                replay_key=credential.replay_key,
                network=credential.network,
                asset=credential.asset,
                payer=credential.payer,
                amount=credential.amount,
                transaction=transaction,
            )
            if await self._store.note_orphan(orphan):
                log.warning("orphan", network=orphan.network, payer=orphan.payer, tx=transaction)

"""Asking a rail whether a credential is good, with the payer's other claims beside it."""

from __future__ import annotations

import time

from facilitator.base import VerificationUnavailable
from facilitator.token_abi import INSUFFICIENT_FUNDS
from gateway.errors import Unavailable
from gateway.observe import Metrics, log
from gateway.payment import Claimed, Payment
from gateway.purchase import Purchase
from gateway.rails.base import OtherClaims, Refusal
from gateway.store import Store


class Verifier:
    """Verifies claims, and proofs that somebody is the payer. Unavailable where it cannot be told."""

    def __init__(self, store: Store, metrics: Metrics) -> None:
        self._store = store
        self._metrics = metrics

    async def verify(self, purchase: Purchase, claimed: Claimed) -> Refusal | None:
        """Why the claim must not be worked on, if it must not."""

        async def load() -> list[Payment]:
            flying = await self._store.in_flight(purchase.credential.purse)
            return [payment for payment in flying if payment.id != claimed.lease.payment_id]

        return await self._ask(purchase, OtherClaims(claimed.in_flight, load))

    async def prove(self, purchase: Purchase) -> Refusal | None:
        """Whether a fresh authorization shows that its payer asks: it is never claimed, so the balance,
        which the lost answer may have taken, does not count."""

        async def load() -> list[Payment]:
            return await self._store.in_flight(purchase.credential.purse)

        refused = await self._ask(purchase, OtherClaims(0, load))
        return None if refused is not None and refused.reason == INSUFFICIENT_FUNDS else refused

    async def _ask(self, purchase: Purchase, others: OtherClaims) -> Refusal | None:
        started = time.monotonic()
        try:
            return await purchase.rail.verify(purchase.credential, others, purchase.wanted)
        except VerificationUnavailable as error:
            # The reason may name an RPC provider: it is for the operator.
            log.warning("verification", network=purchase.credential.network, reason=str(error))
            raise Unavailable(
                "verification_unavailable", "the payment cannot be verified right now; try again"
            ) from error
        finally:
            self._metrics.verify_seconds.labels(purchase.rail.name).observe(time.monotonic() - started)

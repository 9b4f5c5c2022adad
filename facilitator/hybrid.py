"""Verified here, settled there: no key of ours, and no word of theirs on whether a payment is good."""

from __future__ import annotations

from facilitator.base import Accepted, Purse, Refused
from facilitator.remote import RemoteFacilitator
from facilitator.wire import Payload, PaymentPayload, PaymentRequirements


class HybridFacilitator(RemoteFacilitator):
    """See :class:`facilitator.base.Facilitator`; made as the remote one is, and only ``verify`` differs."""

    async def verify(
        self,
        payload: Payload,
        requirements: PaymentRequirements,
        purse: Purse,
        *,
        work_budget: int = 0,
    ) -> Accepted | Refused:
        """On our own chains, as the local facilitator does; nobody else is asked, whatever the verdict.

        What is not EVM cannot be verified here: that is the remote facilitator's.
        """
        if isinstance(payload, PaymentPayload):
            return await self.verifier.verify(payload, requirements, purse, work_budget)
        return await super().verify(payload, requirements, purse, work_budget=work_budget)

"""Several facilitators as one: each network has its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from facilitator.base import Accepted, Due, Facilitator, Journal, Purse, Refused, Settlement
from facilitator.wire import Payload, PaymentRequirements


class ByNetwork:
    """See :class:`facilitator.base.Facilitator`."""

    def __init__(self, facilitators: Mapping[str, Facilitator]) -> None:
        """By CAIP-2 id."""
        self._facilitators = facilitators
        self._whose = {sender: each for each in self._each() for sender in each.senders()}

    async def verify(
        self,
        payload: Payload,
        requirements: PaymentRequirements,
        purse: Purse,
        *,
        work_budget: int = 0,
    ) -> Accepted | Refused:
        """Asks the network's own."""
        chosen = self._facilitators[requirements.network]
        return await chosen.verify(payload, requirements, purse, work_budget=work_budget)

    async def settle(self, due: Due, journal: Journal) -> Settlement:
        """Through the network's own."""
        return await self._facilitators[due.requirements.network].settle(due, journal)

    async def find_paid(self, requirements: PaymentRequirements, payload: Payload) -> str | None:
        """As the network's own finds it."""
        return await self._facilitators[requirements.network].find_paid(requirements, payload)

    def ready(self, network: str) -> bool:
        """Whether the network's own is."""
        return self._facilitators[network].ready(network)

    def extra(self, network: str, scheme: str) -> Mapping[str, Any]:
        """What the network's own wants told."""
        return self._facilitators[network].extra(network, scheme)

    def senders(self) -> list[str]:
        """Of all of them."""
        return list(self._whose)

    def sender_for(self, network: str, payment_id: str) -> str:
        """Of the network's own."""
        return self._facilitators[network].sender_for(network, payment_id)

    def at_once(self, sender: str) -> int:
        """As whose sender it is says."""
        return self._whose[sender].at_once(sender)

    async def resume(self, sender: str, journal: Journal) -> None:
        """Goes to whose sender it is."""
        await self._whose[sender].resume(sender, journal)

    async def close(self) -> None:
        """All of them."""
        for each in self._each():
            await each.close()

    def _each(self) -> list[Facilitator]:
        return list({id(each): each for each in self._facilitators.values()}.values())

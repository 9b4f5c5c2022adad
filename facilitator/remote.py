"""Facilitators somewhere else, over HTTP: they verify and settle, the chain is the judge.

One of them may be slow, down or lying. What it says of a settlement is believed where it
can be no loss beyond ``verify_on_chain_over``; everything else is ended by evidence from
our own RPC endpoints. Of payments that we cannot read (other networks, other schemes)
there is only its word.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from facilitator.answers import request_body
from facilitator.base import (
    AT_ONCE,
    Accepted,
    Due,
    Journal,
    Purse,
    Refused,
    Settlement,
    VerificationUnavailable,
)
from facilitator.chain import Chain, ChainClient
from facilitator.endpoint import Endpoint, Remote
from facilitator.fuel import Look
from facilitator.http1.client import Client
from facilitator.pinned import Settling
from facilitator.pool import Health, Patience, Pool
from facilitator.reasons import INVALID_PAYLOAD
from facilitator.rpc import Rpc
from facilitator.strict import MalformedPayment, json_object
from facilitator.verifying import Verifier
from facilitator.wire import Payload, PaymentPayload, PaymentRequirements

_CONNECTIONS = 512
"""At once: settlements that hang must not stand in the way of verifications."""

_EVM = "eip155:"

_MOST_BODIES = 256
"""Kept for the next call about the same payment."""


class RemoteFacilitator:
    """See :class:`facilitator.base.Facilitator`."""

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        client: Client,
        chains: Sequence[Chain],
        networks: Sequence[str] = (),
        *,
        worth: Callable[[PaymentRequirements], int],
        verify_on_chain_over: int | None,
        resource: str,
        patience: Patience | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``endpoints`` in order of preference; ``chains`` are the EVM networks, ``networks`` the CAIP-2
        ids of others. A claimed success of more than ``verify_on_chain_over`` (micros, as ``worth`` gives
        them; None: of whatever amount it is believed) must show on the chain. ``resource`` is an absolute
        URL of ours, which version 1 wants in its requirements.

        The client is for RPC, and the caller's to close; to the facilitators there is one of its own.
        ValueError for an EVM network without RPC, for a network that no endpoint serves, and for two
        endpoints with one URL.
        """
        self.clients = {
            chain.caip2: ChainClient(chain, Rpc(client, chain.rpc, chain.chain_id), clock) for chain in chains
        }
        self._networks = list(dict.fromkeys([*self.clients, *networks]))
        _check_networks(self._networks, self.clients, endpoints)
        self._worth = worth
        self._over = verify_on_chain_over
        self._resource = resource
        self.verifier = Verifier(self.clients, clock)
        self._bodies: dict[int, tuple[Payload, PaymentRequirements, bytes]] = {}
        """By payload: what is sent to verify is sent to settle, mostly a moment later."""
        self._client = Client(_CONNECTIONS)
        remotes = [Remote(endpoint, self._client) for endpoint in endpoints]
        self.pool = Pool(remotes, patience or Patience())

    def client(self, network: str) -> ChainClient:
        """The chain behind a CAIP-2 id of an EVM network."""
        return self.clients[network]

    def senders(self) -> list[str]:
        """A queue for each network."""
        return [_queue(network) for network in self._networks]

    def sender_for(self, network: str, payment_id: str) -> str:
        """The network's queue."""
        return _queue(network)

    def at_once(self, sender: str) -> int:
        """Each is a question of its own."""
        return AT_ONCE

    async def look(self, network: str) -> Look:
        """Whether a network's evidence can be had, which for what is not EVM is a facilitator's word."""
        if network not in self.clients:
            up = self.ready(network)
            return Look(up, "" if up else f"{network}: no facilitator answers", {})
        try:
            await self.clients[network].rpc.call("eth_blockNumber")
        except VerificationUnavailable as error:
            return Look(False, str(error), {})
        return Look(True, "", {})

    def ready(self, network: str) -> bool:
        """Whether a facilitator of the network is not known to be down, and one lists what is not EVM."""
        listed = network in self.clients or self.supports(network, "exact")
        return network in self._networks and listed and self.pool.ready(network)

    def supports(self, network: str, scheme: str) -> bool:
        """Whether a facilitator lists such payments, by its last good /supported."""
        return network in self._networks and self.pool.supports(network, scheme)

    def extra(self, network: str, scheme: str) -> Mapping[str, Any]:
        """What the facilitator wants clients to know, by its last good /supported."""
        return self.pool.extra(network, scheme)

    def health(self) -> list[Health]:
        """How each facilitator does."""
        return self.pool.health()

    async def refresh(self) -> None:
        """Ask for every /supported once: at start, so that the first challenge is complete."""
        await self.pool.refresh()

    async def run(self) -> None:
        """Ask now and then, and look whether those that are down are back; for ever."""
        await self.pool.run()

    async def verify(
        self,
        payload: Payload,
        requirements: PaymentRequirements,
        purse: Purse,
        *,
        work_budget: int = 0,
    ) -> Accepted | Refused:
        """See :class:`facilitator.base.Facilitator`; what can be told without I/O is told here.

        VerificationUnavailable when no facilitator gives a verdict within the latency budget.
        """
        refused = self._offline(payload, requirements, work_budget)
        if refused is not None:
            return refused
        verdict = await self.pool.verify(payload, requirements, self._body(payload, requirements))
        if verdict is None:
            raise VerificationUnavailable(f"{requirements.network}: no facilitator gives a verdict")
        if isinstance(verdict, Refused) or not isinstance(payload, PaymentPayload):
            return verdict
        return await self.verifier.beside_claims(payload, requirements, purse)

    async def settle(self, due: Due, journal: Journal) -> Settlement:
        """See :class:`facilitator.base.Facilitator`; what the journal raises passes through."""
        readable = isinstance(due.payload, PaymentPayload)
        client = self.clients[due.requirements.network] if readable else None
        prove = self._over is not None and self._worth(due.requirements) > self._over
        body = self._body(due.payload, due.requirements)
        return await Settling(self.pool, client, due, journal, body, prove=prove).run()

    async def find_paid(self, requirements: PaymentRequirements, payload: Payload) -> str | None:
        """See :meth:`facilitator.verifying.Verifier.find_paid`."""
        return await self.verifier.find_paid(requirements, payload)

    async def resume(self, sender: str, journal: Journal) -> None:
        """Nothing: what has no outcome stands in its queue and comes again."""

    async def close(self) -> None:
        """Give back the connections to the facilitators."""
        self._client.close()

    def _offline(
        self, payload: Payload, requirements: PaymentRequirements, work_budget: int
    ) -> Refused | None:
        """Garbage must not cause a call; and what goes into a body as it stands must be one object."""
        if isinstance(payload, PaymentPayload):
            return self.verifier.offline(payload, requirements, work_budget)
        try:
            json_object(payload.raw)
        except MalformedPayment as error:
            return Refused(INVALID_PAYLOAD, str(error))
        return None

    def _body(self, payload: Payload, requirements: PaymentRequirements) -> bytes:
        known = self._bodies.get(id(payload))
        if known is not None and known[0] is payload and known[1] is requirements:
            return known[2]
        body = request_body(payload, requirements, self._resource)
        if len(self._bodies) >= _MOST_BODIES:
            del self._bodies[next(iter(self._bodies))]
        self._bodies[id(payload)] = payload, requirements, body
        return body


def _queue(network: str) -> str:
    return f"remote:{network}"


def _check_networks(
    networks: Sequence[str], clients: Mapping[str, ChainClient], endpoints: Sequence[Endpoint]
) -> None:
    for network in networks:
        if network.startswith(_EVM) and not (network in clients and clients[network].chain.rpc):
            raise ValueError(f"{network}: needs rpc, from which comes the evidence of a settlement")
        if not any(endpoint.serves(network) for endpoint in endpoints):
            raise ValueError(f"{network}: no facilitator's URL is for it")

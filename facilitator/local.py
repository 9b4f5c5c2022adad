"""The facilitator inside this process: our own RPC endpoints, our own keys."""

from __future__ import annotations

import asyncio
import importlib
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from coincurve import PrivateKey

from facilitator.base import Accepted, Due, Journal, Purse, Refused, Settlement
from facilitator.chain import Chain, ChainClient
from facilitator.desk import Desk
from facilitator.exact_evm import address_of
from facilitator.fuel import Look
from facilitator.http1.client import Client
from facilitator.packing import Batches
from facilitator.rpc import Rpc
from facilitator.verifying import Verifier
from facilitator.wire import Payload, PaymentPayload, PaymentRequirements

if TYPE_CHECKING:
    from facilitator.signer import Signer


_ALONE = Batches(max_size=1)


class LocalFacilitator:
    """Verifies against, and settles on, the chains it is given; see :class:`facilitator.base.Facilitator`."""

    def __init__(
        self,
        chains: Sequence[Chain],
        keys: Sequence[str],
        client: Client,
        clock: Callable[[], float] = time.time,
        *,
        batches: Batches = _ALONE,
        told: Callable[[str, bool], None] = lambda network, together: None,
    ) -> None:
        """``keys`` are 0x-hex private keys, at least one, used on every chain; ``clock`` gives unix seconds.
        ``told`` hears once for each network whether payments that are due together can travel together.

        The client is the caller's to close. ValueError for a bad key.
        """
        addresses = [_address(key) for key in keys]
        self._desks: dict[str, Desk] = {}
        for chain in chains:
            reached = ChainClient(chain, Rpc(client, chain.rpc, chain.chain_id), clock)
            self._desks[chain.caip2] = Desk(
                reached, addresses, _Loader(reached, keys).load, batches, partial(told, chain.caip2)
            )
        clients = {network: desk.client for network, desk in self._desks.items()}
        self._verifier = Verifier(clients, clock, caller=addresses[0])

    def client(self, network: str) -> ChainClient:
        """The chain behind a CAIP-2 id, for ``check --online`` and the metrics."""
        return self._desks[network].client

    def senders(self) -> list[str]:
        """Every (chain, key) this facilitator settles with, as ``Outgoing.sender`` names it."""
        return [sender for desk in self._desks.values() for sender in desk.senders]

    def sender_for(self, network: str, payment_id: str) -> str:
        """Which of them is to settle a new payment: one with enough gas, the same one while those stay."""
        return self._desks[network].sender_for(payment_id)

    def at_once(self, sender: str) -> int:
        """How many settlements of one of them may be under way at once."""
        return self._desks[sender.rpartition(":")[0]].at_once()

    async def look(self, network: str) -> Look:
        """Whether a chain answers and what its keys have for gas; call it now and then."""
        return await self._desks[network].fuel.look()

    def fuel(self, network: str) -> dict[str, int]:
        """How many settlements each sender can pay for at the fees of the last look; empty before one."""
        return self._desks[network].fuel.left()

    def ready(self, network: str) -> bool:
        """Whether any key has gas for new work (``fuel.RESERVE`` settlements); True before a look."""
        return self._desks[network].fuel.fueled()

    def extra(self, network: str, scheme: str) -> Mapping[str, Any]:
        """Nothing: the token's domain is all a client needs."""
        return {}

    async def verify(
        self,
        payload: Payload,
        requirements: PaymentRequirements,
        purse: Purse,
        *,
        work_budget: int = 0,
        least: int | None = None,
    ) -> Accepted | Refused:
        """See :class:`facilitator.base.Facilitator`; ``least`` seconds must be left to live.

        None: ``settle_within``. Less is for work that is done already.
        """
        assert isinstance(payload, PaymentPayload), "what is not EVM has a remote facilitator"
        return await self._verifier.verify(payload, requirements, purse, work_budget, least)

    async def settle(self, due: Due, journal: Journal) -> Settlement:
        """See :class:`facilitator.base.Facilitator`; what the journal raises passes through."""
        return await self._desks[due.requirements.network].settle(due, journal)

    async def resume(self, sender: str, journal: Journal) -> None:
        """Send a key's recorded, open transactions again: at start and whenever its lease was won.

        The key itself need not be configured any more. RpcUnavailable when the chain does not take
        them; the next settlement tries again by itself.
        """
        desk = self._desks[sender.rpartition(":")[0]]
        await desk.lane(sender).resume(await desk.signer(), journal)

    async def find_paid(self, requirements: PaymentRequirements, payload: Payload) -> str | None:
        """See :meth:`facilitator.verifying.Verifier.find_paid`."""
        return await self._verifier.find_paid(requirements, payload)

    async def close(self) -> None:
        """Stop asking for receipts."""
        for desk in self._desks.values():
            await desk.receipts.close()


class _Loader:
    """Imports web3 and eth-account at the first settlement, in a thread: that takes more than a second."""

    def __init__(self, client: ChainClient, keys: Sequence[str]) -> None:
        self._client = client
        self._keys = tuple(keys)
        self._loading: asyncio.Task[Signer] | None = None

    async def load(self) -> Signer:
        if self._loading is None:
            self._loading = asyncio.create_task(self._load())
        return await asyncio.shield(self._loading)

    async def _load(self) -> Signer:
        module = await asyncio.to_thread(importlib.import_module, "facilitator.signer")
        signer: Signer = module.Signer(self._client.chain, self._client.rpc, self._keys)
        return signer


def _address(key: str) -> str:
    return address_of(PrivateKey(bytes.fromhex(key.removeprefix("0x"))).public_key)

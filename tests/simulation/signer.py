"""The settlement key of simulated gateways; its transactions only the simulated chain can read."""

from __future__ import annotations

import asyncio
from typing import Any

from facilitator.fees import Fees, ceiling, first, raised
from facilitator.rpc import RpcError, RpcUnavailable, quantity
from facilitator.signer import Delivery, Signed, _delivery
from simulation.chain import decoded, encoded

KEY = "0x" + "5e" * 32
MAX_FEE_GWEI = 50
_CAP = ceiling(MAX_FEE_GWEI)


class SimulatedSigner:
    """What :class:`facilitator.signer.Signer` is to a lane."""

    def __init__(self, rpc: Any) -> None:
        self._rpc = rpc

    def holds(self, address: str) -> bool:
        """Whose key it has."""
        return True

    async def fees(self, base_fee: int) -> Fees | None:
        """What to pay."""
        priority = quantity(await self._rpc.call("eth_maxPriorityFeePerGas"))
        return first(base_fee, priority, _CAP)

    def bid(self, raw: bytes) -> int:
        """The most a transaction pays for a unit of gas."""
        return decoded(raw).fee

    def raise_fees(self, address: str, raw: bytes, base_fee: int) -> Signed | None:
        """The same, dearer."""
        transaction = decoded(raw)
        fees = raised(Fees(transaction.fee, 10**6), base_fee, _CAP)
        if fees is None:
            return None
        return Signed(*encoded(address, transaction.nonce, transaction.data, fees.most))

    def sign(self, address: str, to: str, data: str, gas: int, nonce: int, fees: Fees) -> Signed:
        """Bytes that name their sender."""
        return Signed(*encoded(address, nonce, data, fees.most))

    async def send(self, raw: bytes) -> Delivery:
        """Hand it over."""
        return await _send(self._rpc, raw)

    async def spread(self, raw: bytes) -> Delivery:
        """To every endpoint."""
        found = await asyncio.gather(*(_send(one, raw) for one in self._rpc.apart()))
        return min(found, key=list(Delivery).index)


async def _send(rpc: Any, raw: bytes) -> Delivery:
    try:
        answer = await rpc.call("eth_sendRawTransaction", "0x" + raw.hex())
    except RpcUnavailable:
        return Delivery.UNCERTAIN
    return _delivery(answer.message) if isinstance(answer, RpcError) else Delivery.ACCEPTED

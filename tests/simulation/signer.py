"""The settlement key of simulated gateways: real decisions, transactions that only the simulated chain reads."""

from __future__ import annotations

from typing import Any

from facilitator.rpc import RpcError, quantity
from facilitator.signer import Delivery, Fees, Signed, _delivery
from facilitator.rpc import RpcUnavailable
from simulation.chain import encoded

KEY = "0x" + "5e" * 32


class SimulatedSigner:
    """What :class:`facilitator.signer.Signer` is to a lane."""

    def __init__(self, rpc: Any) -> None:
        self._rpc = rpc

    async def counts(self, address: str) -> tuple[int, int]:
        """Transactions mined, and with the pool's."""
        mined = quantity(await self._rpc.call("eth_getTransactionCount", address, "latest"))
        pending = quantity(await self._rpc.call("eth_getTransactionCount", address, "pending"))
        return mined, max(mined, pending)

    async def fees(self, base_fee: int) -> Fees:
        """Enough."""
        return Fees(3 * base_fee, 1)

    def sign(self, address: str, to: str, data: str, gas: int, nonce: int, fees: Fees) -> Signed:
        """Bytes that name their sender."""
        return Signed(*encoded(address, nonce, data, fees.most))

    async def send(self, raw: bytes) -> Delivery:
        """Hand it over."""
        try:
            answer = await self._rpc.call("eth_sendRawTransaction", "0x" + raw.hex())
        except RpcUnavailable:
            return Delivery.UNCERTAIN
        return _delivery(answer.message) if isinstance(answer, RpcError) else Delivery.ACCEPTED

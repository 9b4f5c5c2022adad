"""Keys, fees and sending, through web3 and eth-account.

The one module that imports them: it is loaded by the process that settles, after it
listens, and never by those that only verify.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum, auto
from typing import Any, cast

from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_typing import HexStr
from web3 import AsyncWeb3, Web3
from web3.exceptions import Web3Exception, Web3RPCError
from web3.providers.async_base import AsyncJSONBaseProvider
from web3.types import RPCEndpoint, RPCResponse

from facilitator.chain import Chain
from facilitator.rpc import Rpc, RpcError, RpcUnavailable

_GWEI = 10**9
_FEE_KEPT = 5.0
"""Seconds the suggested priority fee is believed."""

_HEADROOM = 3
"""Base fees a transaction can bear: it is never re-priced, so it must survive a rise."""

_ODD_ANSWER = (Web3Exception, TypeError, ValueError)
"""What web3 raises when a node answers with an error, or with something of another shape."""

_KNOWN = ("already known", "alreadyknown", "already imported", "known transaction", "already exists")
_STALE = ("nonce too low", "nonce is too low", "oldnonce", "nonce_expired")


class Delivery(Enum):
    """What became of a transaction handed to the chain."""

    ACCEPTED = auto()
    """It is in the pool, or was already."""
    STALE = auto()
    """Its nonce is mined: by this transaction or by another."""
    REFUSED = auto()
    """The node will not take it now (gas money, fees): it stays recorded."""
    UNCERTAIN = auto()
    """No answer: it may have arrived."""

    @property
    def accepted(self) -> bool:
        """The transaction has its place in the order."""
        return self is Delivery.ACCEPTED

    @property
    def arrived(self) -> bool:
        """Its nonce is taken, by it or for good by another."""
        return self in (Delivery.ACCEPTED, Delivery.STALE)


@dataclass(frozen=True, slots=True)
class Fees:
    """EIP-1559, wei for each unit of gas."""

    most: int
    priority: int


@dataclass(frozen=True, slots=True)
class Signed:
    """A transaction's hash (0x-hex) and bytes."""

    hash: str
    raw: bytes


class _Provider(AsyncJSONBaseProvider):
    """web3 over our own RPC client: its failover, its bounds, its one connection pool."""

    def __init__(self, rpc: Rpc) -> None:
        super().__init__()
        self._rpc = rpc

    async def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        result = await self._rpc.call(method, *params)
        if isinstance(result, RpcError):
            error = {"code": result.code, "message": result.message}
            return cast(RPCResponse, {"jsonrpc": "2.0", "id": 1, "error": error})
        return cast(RPCResponse, {"jsonrpc": "2.0", "id": 1, "result": result})


class Signer:
    """The keys of one chain."""

    def __init__(self, chain: Chain, rpc: Rpc, keys: Sequence[str]) -> None:
        self._chain = chain
        self._web3 = AsyncWeb3(_Provider(rpc))
        accounts = [cast(LocalAccount, Account.from_key(key)) for key in keys]
        self._accounts = {account.address.lower(): account for account in accounts}
        self._priority = 0
        self._priority_until = float("-inf")

    async def counts(self, address: str) -> tuple[int, int]:
        """Transactions mined, and those plus the pool's; RpcUnavailable."""
        account = Web3.to_checksum_address(address)
        try:
            mined = await self._web3.eth.get_transaction_count(account, "latest")
            pending = await self._web3.eth.get_transaction_count(account, "pending")
        except _ODD_ANSWER as error:
            raise RpcUnavailable(f"eth_getTransactionCount: {error}") from error
        return mined, max(mined, pending)

    async def fees(self, base_fee: int) -> Fees | None:
        """What to pay when blocks cost ``base_fee`` wei, capped by ``max_fee_gwei``; None above the cap."""
        cap = int(Decimal(self._chain.max_fee_gwei) * _GWEI)
        if base_fee > cap:
            return None
        priority = min(await self._suggested_priority(), cap)
        most = min(cap, _HEADROOM * base_fee + priority)
        return Fees(most, min(priority, most))

    def sign(self, address: str, to: str, data: str, gas: int, nonce: int, fees: Fees) -> Signed:
        """An EIP-1559 transaction of no value."""
        signed = self._accounts[address].sign_transaction(
            {
                "type": 2,
                "chainId": self._chain.chain_id,
                "nonce": nonce,
                "to": Web3.to_checksum_address(to),
                "value": 0,
                "data": HexStr(data),
                "gas": gas,
                "maxFeePerGas": fees.most,
                "maxPriorityFeePerGas": fees.priority,
            }
        )
        return Signed("0x" + signed.hash.hex(), bytes(signed.raw_transaction))

    async def send(self, raw: bytes) -> Delivery:
        """Hand over a signed transaction; doing it again is harmless."""
        try:
            await self._web3.eth.send_raw_transaction(raw)
        except RpcUnavailable:
            return Delivery.UNCERTAIN
        except Web3RPCError as error:
            return _delivery(error.message)
        except _ODD_ANSWER:
            return Delivery.UNCERTAIN
        return Delivery.ACCEPTED

    async def _suggested_priority(self) -> int:
        if time.monotonic() >= self._priority_until:
            try:
                self._priority = await self._web3.eth.max_priority_fee
            except _ODD_ANSWER as error:
                raise RpcUnavailable(f"eth_maxPriorityFeePerGas: {error}") from error
            self._priority_until = time.monotonic() + _FEE_KEPT
        return self._priority


def _delivery(message: str) -> Delivery:
    lowered = message.lower()
    if any(part in lowered for part in _KNOWN):
        return Delivery.ACCEPTED
    return Delivery.STALE if any(part in lowered for part in _STALE) else Delivery.REFUSED

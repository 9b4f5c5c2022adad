"""Keys, fees and sending, through web3 and eth-account.

The one module that imports them: it is loaded by the process that settles, after it
listens, and never by those that only verify.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from functools import lru_cache
from typing import Any, cast

from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_account.typed_transactions.typed_transaction import TypedTransaction
from eth_typing import HexStr
from hexbytes import HexBytes
from web3 import AsyncWeb3, Web3
from web3.exceptions import Web3Exception, Web3RPCError
from web3.providers.async_base import AsyncJSONBaseProvider
from web3.types import RPCEndpoint, RPCResponse

from facilitator.chain import Chain
from facilitator.fees import Fees, ceiling, first, raised
from facilitator.rpc import Rpc, RpcError, RpcUnavailable

_FEE_KEPT = 5.0
"""Seconds the suggested priority fee is believed."""

_ODD_ANSWER = (Web3Exception, TypeError, ValueError)
"""What web3 raises when a node answers with an error, or with something of another shape."""

_KNOWN = ("already known", "alreadyknown", "already imported", "known transaction", "already exists")
_STALE = ("nonce too low", "nonce is too low", "oldnonce", "nonce_expired")
_OUTBID = ("underpriced", "could not replace", "replacement not allowed")


class Delivery(Enum):
    """What became of a transaction handed to the chain."""

    ACCEPTED = auto()
    """It is in the pool, or was already."""
    STALE = auto()
    """Its nonce is mined: by this transaction or by another."""
    OUTBID = auto()
    """The pool holds a dearer one of the same nonce, or wants more for this one: a raise may help."""
    UNCERTAIN = auto()
    """No answer: it may have arrived."""
    REFUSED = auto()
    """The node will not take it now (gas money, fees): it stays recorded."""

    @property
    def accepted(self) -> bool:
        """The transaction has its place in the order."""
        return self is Delivery.ACCEPTED

    @property
    def arrived(self) -> bool:
        """Its nonce is taken, by it or by another."""
        return self in (Delivery.ACCEPTED, Delivery.STALE, Delivery.OUTBID)

    @property
    def stale(self) -> bool:
        """Its nonce is over."""
        return self is Delivery.STALE

    @property
    def outbid(self) -> bool:
        """Its fees are too low."""
        return self is Delivery.OUTBID


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
        self._cap = ceiling(chain.max_fee_gwei)
        self._web3 = AsyncWeb3(_Provider(rpc))
        self._everywhere = [(one, AsyncWeb3(_Provider(one))) for one in rpc.apart()]
        accounts = [cast(LocalAccount, Account.from_key(key)) for key in keys]
        self._accounts = {account.address.lower(): account for account in accounts}
        self._priority = 0
        self._priority_until = float("-inf")

    def holds(self, address: str) -> bool:
        """Whether the key of a lower-case address is here."""
        return address in self._accounts

    async def fees(self, base_fee: int) -> Fees | None:
        """What to pay when blocks cost ``base_fee`` wei, capped by ``max_fee_gwei``; None above the cap."""
        return first(base_fee, await self._suggested_priority(), self._cap)

    def bid(self, raw: bytes) -> int:
        """The most a signed transaction pays for one unit of gas, wei."""
        return _bid(raw)

    def raise_fees(self, address: str, raw: bytes, base_fee: int) -> Signed | None:
        """The same transaction with its fees raised by an eighth or more; None where the cap forbids it."""
        fields = _fields(raw)
        fees = raised(_fees(fields), base_fee, self._cap)
        if fees is None:
            return None
        fields |= {"maxFeePerGas": fees.most, "maxPriorityFeePerGas": fees.priority}
        return self._signed(address, fields)

    def sign(self, address: str, to: str, data: str, gas: int, nonce: int, fees: Fees) -> Signed:
        """An EIP-1559 transaction of no value."""
        return self._signed(
            address,
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
            },
        )

    async def send(self, raw: bytes) -> Delivery:
        """Hand over a signed transaction; doing it again is harmless."""
        return await _send(self._web3, raw)

    async def spread(self, raw: bytes) -> Delivery:
        """Hand it to every endpoint that did not just fail, as one that drops transactions would go
        unnoticed; the best that became of it."""
        webs = [web3 for rpc, web3 in self._everywhere if not rpc.resting]
        found = await asyncio.gather(*(_send(web3, raw) for web3 in webs or [self._web3]))
        return min(found, key=list(Delivery).index)

    def _signed(self, address: str, fields: dict[str, Any]) -> Signed:
        signed = self._accounts[address].sign_transaction(fields)
        return Signed("0x" + signed.hash.hex(), bytes(signed.raw_transaction))

    async def _suggested_priority(self) -> int:
        if time.monotonic() >= self._priority_until:
            try:
                self._priority = await self._web3.eth.max_priority_fee
            except _ODD_ANSWER as error:
                raise RpcUnavailable(f"eth_maxPriorityFeePerGas: {error}") from error
            self._priority_until = time.monotonic() + _FEE_KEPT
        return self._priority


async def _send(web3: AsyncWeb3[Any], raw: bytes) -> Delivery:
    try:
        await web3.eth.send_raw_transaction(raw)
    except RpcUnavailable:
        return Delivery.UNCERTAIN
    except Web3RPCError as error:
        return _delivery(error.message)
    except _ODD_ANSWER:
        return Delivery.UNCERTAIN
    return Delivery.ACCEPTED


@lru_cache(maxsize=256)
def _bid(raw: bytes) -> int:
    return _fees(_fields(raw)).most


def _fields(raw: bytes) -> dict[str, Any]:
    """A signed transaction's fields without its signature."""
    fields = dict(TypedTransaction.from_bytes(HexBytes(raw)).as_dict())
    return {name: value for name, value in fields.items() if name not in ("v", "r", "s")}


def _fees(fields: dict[str, Any]) -> Fees:
    return Fees(fields["maxFeePerGas"], fields["maxPriorityFeePerGas"])


def _delivery(message: str) -> Delivery:
    lowered = message.lower()
    if any(part in lowered for part in _KNOWN):
        return Delivery.ACCEPTED
    if any(part in lowered for part in _STALE):
        return Delivery.STALE
    return Delivery.OUTBID if any(part in lowered for part in _OUTBID) else Delivery.REFUSED

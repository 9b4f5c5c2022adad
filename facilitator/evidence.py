"""Judging an authorization the chain shows as used: was it used to pay us, for this claim?

Anyone who sees an EIP-3009 authorization may send it, so a nonce found used is no
refusal by itself. Source: DESIGN section 4 ("Unknown is not failed").
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from facilitator import token_abi
from facilitator.base import Due, Refused, Settled, Settlement, Unknown
from facilitator.chain import ChainClient, Receipt, receipt_of
from facilitator.moves import Moves
from facilitator.receipts import about
from facilitator.rpc import RpcError, RpcUnavailable, quantity
from facilitator.wire import Authorization

_WINDOW = 1000
_WINDOWS = 20
_SMALLEST_WINDOW = 10
"""Blocks of logs asked for at once, how often, and how far the window shrinks for a narrow provider."""

NOT_OURS = token_abi.NONCE_USED


@dataclass(frozen=True, slots=True)
class Use:
    """The log that used or cancelled an authorization."""

    transaction: str
    cancelled: bool


@dataclass(frozen=True, slots=True)
class Mined:
    """A transaction that has its confirmations."""

    receipt: Receipt
    time: int
    """Unix seconds of its block."""

    @property
    def block(self) -> int:
        """Its block's number."""
        return quantity(self.receipt.get("blockNumber"))

    @property
    def sender(self) -> str:
        """Lower-case."""
        return str(self.receipt.get("from", "")).lower()


async def judge_used(
    client: ChainClient,
    due: Due,
    recorded: Collection[str],
    our_keys: Collection[str],
    *,
    unused_at: int | None = None,
) -> Settlement:
    """What a used nonce means for this payment; RpcUnavailable when the chain cannot be asked.

    Settled when the transaction that used it moved the money to us and is ``recorded`` for this
    payment, or (``recognised``) was mined after the claim and not sent by one of ``our_keys``
    (lower-case; such a transaction belongs to another store). After the claim is: after the block
    ``unused_at`` where that is known, else by the clocks. Refused when it did not. Unknown without
    evidence.
    """
    authorization, asset = due.exact.authorization, due.requirements.asset
    use = await find_use(client, asset, authorization)
    if use is None:
        return Unknown()
    mined = await find_mined(client, use.transaction)
    if use.cancelled:
        return Unknown() if mined is None else Refused(NOT_OURS, "cancelled by the payer")
    moves = None if mined is None else Moves(mined.receipt)
    if mined is None or moves is None or not moves.used(asset, authorization):
        return Unknown(use.transaction)
    if not moves.paid(asset, authorization):
        return Refused(NOT_OURS, "used, but not for this transfer")
    if use.transaction in recorded:
        return Settled(use.transaction)
    if _for_this_claim(mined, due, our_keys, unused_at):
        return Settled(use.transaction, recognised=True)
    return Refused(NOT_OURS, "used before it was presented here")


def _for_this_claim(mined: Mined, due: Due, our_keys: Collection[str], unused_at: int | None) -> bool:
    later = unused_at is not None and mined.block > unused_at
    return mined.sender not in our_keys and (later or due.claimed_at // 1000 <= mined.time)


async def find_paid(client: ChainClient, asset: str, authorization: Authorization) -> str | None:
    """The transaction that used an authorization to move its money; None where none did, or none is
    found within the range searched. RpcUnavailable when the chain cannot be asked."""
    use = await find_use(client, asset, authorization)
    if use is None or use.cancelled:
        return None
    mined = await find_mined(client, use.transaction)
    if mined is None or not Moves(mined.receipt).paid(asset, authorization):
        return None
    return use.transaction


async def find_use(client: ChainClient, asset: str, authorization: Authorization) -> Use | None:
    """The log that spent the nonce, searched backwards from the latest block over a bounded range."""
    top = quantity(await client.rpc.call("eth_blockNumber"))
    window = _WINDOW
    for _ in range(_WINDOWS):
        low = max(0, top - window + 1)
        logs = await client.rpc.call("eth_getLogs", _filter(asset, authorization, low, top))
        if not isinstance(logs, list):
            window = _narrower(window, logs)
        elif logs:
            return _use(logs[-1])
        elif low == 0:
            return None
        else:
            top = low - 1
    return None


async def find_mined(client: ChainClient, transaction: str) -> Mined | None:
    """A transaction's receipt and the time of its block; None until its confirmations are there, and
    while its block is not the one the chain has at that height."""
    receipt, head = await client.rpc.batch([receipt_of(transaction), ("eth_blockNumber", ())])
    if not about(transaction, receipt) or not client.confirmed(receipt, quantity(head)):
        return None
    block = await client.rpc.call("eth_getBlockByNumber", receipt.get("blockNumber"), False)
    if not isinstance(block, dict) or block.get("hash") != receipt.get("blockHash"):
        return None
    return Mined(receipt, quantity(block.get("timestamp")))


def _narrower(window: int, answer: Any) -> int:
    if window <= _SMALLEST_WINDOW:
        raise RpcUnavailable(f"eth_getLogs: {answer.message if isinstance(answer, RpcError) else 'no list'}")
    return max(_SMALLEST_WINDOW, window // 10)


def _use(log: Any) -> Use:
    try:
        return Use(log["transactionHash"].lower(), log["topics"][0] == token_abi.AUTHORIZATION_CANCELED)
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise RpcUnavailable("eth_getLogs: not a log") from error


def _filter(asset: str, authorization: Authorization, low: int, high: int) -> dict[str, Any]:
    return {
        "address": asset,
        "fromBlock": hex(low),
        "toBlock": hex(high),
        "topics": [
            [token_abi.AUTHORIZATION_USED, token_abi.AUTHORIZATION_CANCELED],
            "0x" + token_abi.address_word(authorization.sender),
            "0x" + authorization.nonce.hex(),
        ],
    }

"""What the chain says: every payment by authorization that reached a payee, from the token's own logs."""

from __future__ import annotations

from typing import Any

from crash.evidence import Transfer
from kit.anvil import Anvil

from gateway.payment import payment_id

TRANSFER = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
AUTHORIZATION_USED = "0x98de503528ee59b575ef0c0a2576a82497bfc029a5685b209e9ec333479b10a5"
"""Topics: Transfer(address,address,uint256) and AuthorizationUsed(address,bytes32)."""


def transfers_to(anvil: Anvil, payee: str) -> list[Transfer]:
    """Oldest first. The token logs the use of an authorization right before its transfer."""
    topics = [[TRANSFER, AUTHORIZATION_USED]]
    wanted = {"fromBlock": "0x0", "toBlock": "latest", "address": anvil.token, "topics": topics}
    found: list[Transfer] = []
    before: dict[str, Any] | None = None
    for log in anvil.rpc("eth_getLogs", wanted):
        if log["topics"][0] == TRANSFER and _address(log["topics"][2]) == payee.lower():
            found.append(_transfer(anvil, log, before))
        before = log
    return found


def mined(anvil: Anvil, transaction: str) -> bool:
    """Whether it is in a block, and did not revert; an empty hash is nowhere."""
    receipt = transaction and anvil.rpc("eth_getTransactionReceipt", transaction)
    return bool(receipt) and receipt["status"] == "0x1"


def _transfer(anvil: Anvil, log: dict[str, Any], before: dict[str, Any] | None) -> Transfer:
    payer, amount, hash_ = _address(log["topics"][1]), int(log["data"], 16), log["transactionHash"]
    if before is None or before["topics"][0] != AUTHORIZATION_USED or before["transactionHash"] != hash_:
        return Transfer(hash_, payer, amount, hash_)
    key = f"{anvil.chain_id}:{anvil.token.lower()}:{payer}:{before['topics'][2]}"
    return Transfer(payment_id(key), payer, amount, hash_)


def _address(topic: str) -> str:
    return "0x" + topic[-40:].lower()

"""What a facilitator and a chain say that take no time: all is good, everyone is rich, nothing was used."""

from __future__ import annotations

import itertools
import time
from typing import Any

import orjson

_KINDS = [
    {"x402Version": 2, "scheme": "exact", "network": "eip155:84532"},
    {"x402Version": 1, "scheme": "exact", "network": "base-sepolia"},
]
SUPPORTED = orjson.dumps({"kinds": _KINDS, "extensions": [], "signers": {}})
_hashes = itertools.count(1)
_BLOCK = 1_000_000
_CALLS = {
    "0x70a08231": f"0x{10**15:064x}",  # balanceOf
    "0xe94a0102": f"0x{0:064x}",  # authorizationState
}
"""By selector; whatever else is called succeeds and returns nothing."""


def verified(document: dict[str, Any]) -> bytes:
    """The answer to ``/verify``."""
    return orjson.dumps({"isValid": True, "payer": _payer(document)})


def settled(document: dict[str, Any]) -> bytes:
    """The answer to ``/settle``; every transaction has a hash of its own."""
    terms = document["paymentRequirements"]
    amount = terms.get("amount") or terms["maxAmountRequired"]
    done = {"success": True, "payer": _payer(document), "network": terms["network"], "amount": amount}
    return orjson.dumps({**done, "transaction": f"0x{next(_hashes):064x}"})


def rpc(document: Any) -> bytes:
    """The answer to one JSON-RPC call, or to a batch."""
    if isinstance(document, list):
        return orjson.dumps([_called(each) for each in document])
    return orjson.dumps(_called(document))


def _payer(document: dict[str, Any]) -> str:
    payer: str = document["paymentPayload"]["payload"]["authorization"]["from"]
    return payer


def _called(call: dict[str, Any]) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": call["id"], "result": _result(call["method"], call["params"])}


def _result(method: str, params: list[Any]) -> Any:
    if method == "eth_chainId":
        return hex(84532)
    if method == "eth_blockNumber":
        return hex(_BLOCK)
    if method == "eth_getBlockByNumber":
        return _block()
    if method == "eth_getCode":
        return "0x60"
    if method == "eth_call":
        return _CALLS.get(params[0]["data"][:10], "0x")
    return None


def _block() -> dict[str, Any]:
    zero = f"0x{0:064x}"
    return {
        "number": hex(_BLOCK),
        "timestamp": hex(int(time.time())),
        "hash": f"0x{_BLOCK:064x}",
        "parentHash": f"0x{_BLOCK - 1:064x}",
        "miner": f"0x{0:040x}",
        "baseFeePerGas": hex(10**6),
        "gasLimit": hex(4 * 10**8),
        "gasUsed": "0x0",
        "stateRoot": zero,
        "transactionsRoot": zero,
        "receiptsRoot": zero,
        "logsBloom": f"0x{0:0512x}",
        "transactions": [],
    }

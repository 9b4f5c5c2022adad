"""The test dollar on a local chain: placed, minted, read."""

from __future__ import annotations

import json
import time
from functools import cache
from importlib.resources import files
from typing import Any

from gateway.devchain.accounts import DEV_ACCOUNTS
from gateway.devchain.rpc import Rpc

TOKEN_ADDRESS = "0x036CbD53842c5426634e7929541eC2318f3dCF7e"
"""The official USDC of Base Sepolia; on a local chain our own code stands there."""

# The last account pays for minting, so that the others' transaction counts are the tests' own.
_FAUCET = DEV_ACCOUNTS[-1].address
_BALANCE_OF = "70a08231"
_MINT = "40c10f19"
_PATIENCE = 10


@cache
def artefact() -> dict[str, Any]:
    """The compiled token: ``abi``, ``bytecode``, ``deployedBytecode`` and how it was compiled."""
    loaded: dict[str, Any] = json.loads(files(__package__).joinpath("test_token.json").read_bytes())
    return loaded


def place_token(rpc: Rpc, address: str = TOKEN_ADDRESS) -> None:
    """Puts the token's code at ``address``."""
    rpc.call("anvil_setCode", address, artefact()["deployedBytecode"])


def mint(rpc: Rpc, account: str, amount: int, address: str = TOKEN_ADDRESS) -> None:
    """Gives ``account`` that many atomic units, in a block of its own where none is made by itself."""
    call = {"from": _FAUCET, "to": address, "data": f"0x{_MINT}{_word(account)}{amount:064x}"}
    transaction = rpc.call("eth_sendTransaction", call)
    if not _mined_by_itself(rpc, transaction):
        rpc.call("evm_mine")


def _mined_by_itself(rpc: Rpc, transaction: str) -> bool:
    for _ in range(_PATIENCE):
        if rpc.call("eth_getTransactionReceipt", transaction) is not None:
            return True
        time.sleep(0.005)
    return False


def balance(rpc: Rpc, account: str, address: str = TOKEN_ADDRESS) -> int:
    """The balance in atomic units at the latest block."""
    call = {"to": address, "data": f"0x{_BALANCE_OF}{_word(account)}"}
    return int(rpc.call("eth_call", call, "latest"), 16)


def _word(account: str) -> str:
    return account.lower().removeprefix("0x").rjust(64, "0")

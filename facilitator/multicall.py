"""Several calls in one transaction: ``aggregate3`` of Multicall3, encoded and read by hand.

Each call may fail by itself: the others and the transaction go on. Source: the Solidity ABI
specification; Multicall3's published interface and address, the same on almost every chain.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from facilitator.rpc import RpcUnavailable
from facilitator.token_abi import address_word, selector

ADDRESS = "0xcA11bde05977b3631167028862bE2a173976CA11"

_AGGREGATE3 = selector("aggregate3((address,bool,bytes)[])")
_WORD = 64
"""Hex digits."""


class Call(Protocol):
    """A contract, and 0x-hex calldata for it."""

    asset: str
    data: str


def aggregate3(calls: Sequence[Call]) -> str:
    """Calldata for calls in this order; each may fail."""
    structs = [_struct(call.asset, call.data) for call in calls]
    offsets, at = [], len(calls) * 32
    for struct in structs:
        offsets.append(_word(at))
        at += len(struct) // 2
    return "".join((_AGGREGATE3, _word(32), _word(len(calls)), *offsets, *structs))


def succeeded(answer: Any, calls: int) -> list[bool]:
    """Which of the calls did not revert; RpcUnavailable for what is no answer of ``aggregate3``."""
    try:
        data = bytes.fromhex(answer[2:])
        found = _array(data, int.from_bytes(data[:32], "big"))
    except (TypeError, ValueError) as error:
        raise RpcUnavailable("aggregate3: not an answer") from error
    if len(found) != calls:
        raise RpcUnavailable("aggregate3: an answer to other calls")
    return found


def _array(data: bytes, start: int) -> list[bool]:
    count, first = _number(data, start), start + 32
    if count > len(data) // 64:
        raise ValueError("longer than what it is in")
    return [_number(data, first + _number(data, first + 32 * index)) == 1 for index in range(count)]


def _number(data: bytes, at: int) -> int:
    word = data[at : at + 32]
    if len(word) != 32:
        raise ValueError("ends too soon")
    return int.from_bytes(word, "big")


def _struct(target: str, data: str) -> str:
    """(target, allowFailure, callData)."""
    content = data[2:]
    padded = content.ljust(-(-len(content) // _WORD) * _WORD, "0")
    return address_word(target) + _word(1) + _word(96) + _word(len(content) // 2) + padded


def _word(number: int) -> str:
    return f"{number:064x}"

"""What a chain made of settlements: how many a block held, and what each cost."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from gateway.devchain.rpc import Rpc
from gateway.devchain.token import TOKEN_ADDRESS

_TRANSFER = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
WINDOW = 5
"""Blocks over which the best rate is taken."""


@dataclass(frozen=True)
class Transaction:
    """One that moved money to the payee."""

    block: int
    transfers: int
    gas: int

    @property
    def gas_each(self) -> float:
        """Gas for each payment in it."""
        return self.gas / self.transfers


def head(rpc: Rpc) -> int:
    """The number of the latest block."""
    return int(rpc.call("eth_blockNumber"), 16)


def settlements(rpc: Rpc, payee: str, after: int) -> list[Transaction]:
    """Every transaction since block ``after`` (not included) that paid the payee, in order."""
    return [
        Transaction(number, transfers, int(receipt["gasUsed"], 16))
        for number in range(after + 1, head(rpc) + 1)
        for receipt in rpc.call("eth_getBlockReceipts", hex(number))
        if (transfers := sum(_pays(log, payee) for log in receipt["logs"]))
    ]


def best_rate(found: list[Transaction], block_time: int) -> float:
    """The most payments a second over ``WINDOW`` blocks in a row, or over all there were where fewer."""
    if not found:
        return 0.0
    counts: Counter[int] = Counter()
    for each in found:
        counts[each.block] += each.transfers
    first, last = found[0].block, found[-1].block
    window = min(WINDOW, last - first + 1)
    starts = range(first, last - window + 2)
    most = max(sum(counts[start + offset] for offset in range(window)) for start in starts)
    return most / (window * block_time)


def _pays(log: dict[str, Any], payee: str) -> bool:
    topics = log["topics"]
    return bool(
        log["address"].lower() == TOKEN_ADDRESS.lower()
        and topics[0] == _TRANSFER
        and topics[2][-40:].lower() == payee[2:].lower()
    )

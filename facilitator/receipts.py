"""Waiting for receipts: one batch per round asks for every transaction that is waited for.

A transaction is asked for once, however many payments it is for."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

from facilitator.chain import ChainClient, Receipt, receipt_of
from facilitator.rpc import RpcUnavailable, quantity

_PAUSE = 0.25
"""Seconds between rounds."""

_EARLY = (0.0, 0.03)
"""Seconds before a newcomer's own looks: a chain that mines at once should not cost a round."""


_PAYMENTS = 2000
"""Payments whose receipts are asked for in one go: each has two logs, and logs are long."""


class Receipts:
    """The transactions of one chain that somebody waits for."""

    def __init__(self, client: ChainClient) -> None:
        self._client = client
        self._waiting: dict[str, list[asyncio.Future[Receipt]]] = {}
        self._weights: dict[str, int] = {}
        self._rounds: asyncio.Task[None] | None = None

    async def wait(
        self, transactions: Sequence[str], within: float, *, early: bool = True, weight: int = 1
    ) -> Receipt | None:
        """The receipt of the first of ``transactions`` to have its confirmations on the chain as it
        now is, or None after ``within`` seconds.

        While the chain cannot be asked, waiting goes on. ``early``: look at once, for who waits anew.
        ``weight``: for how many payments each of them is; a receipt is as long as that.
        """
        answered: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        for transaction in transactions:
            self._waiting.setdefault(transaction, []).append(answered)
            self._weights[transaction] = weight
        try:
            async with asyncio.timeout(max(within, 0)):
                if early:
                    await self._look_early(transactions, answered)
                self._keep_looking()
                return await answered
        except TimeoutError:
            return None
        finally:
            for transaction in transactions:
                self._leave(transaction, answered)

    async def close(self) -> None:
        """Stop asking; whoever still waits runs into its own deadline."""
        if self._rounds is not None:
            self._rounds.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._rounds

    async def _look_early(self, transactions: Sequence[str], answered: asyncio.Future[Receipt]) -> None:
        for pause in _EARLY:
            if not answered.done():
                await asyncio.sleep(pause)
                await self._look(transactions)

    def _leave(self, transaction: str, answered: asyncio.Future[Receipt]) -> None:
        waiting = self._waiting[transaction]
        waiting.remove(answered)
        if not waiting:
            del self._waiting[transaction], self._weights[transaction]

    def _keep_looking(self) -> None:
        if self._rounds is None or self._rounds.done():
            self._rounds = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while self._waiting:
            await asyncio.sleep(_PAUSE)
            for group in self._groups():
                await self._look(group)

    def _groups(self) -> list[list[str]]:
        """All that is waited for, in parts whose receipts an answer can carry."""
        groups: list[list[str]] = [[]]
        room = _PAYMENTS
        for transaction, weight in self._weights.items():
            if groups[-1] and weight > room:
                groups.append([])
                room = _PAYMENTS
            groups[-1].append(transaction)
            room -= weight
        return groups

    async def _look(self, transactions: Sequence[str]) -> None:
        calls = [("eth_blockNumber", ()), *map(receipt_of, transactions)]
        try:
            head, *answers = await self._client.rpc.batch(calls)
            receipts = [
                answer
                for transaction, answer in zip(transactions, answers, strict=True)
                if about(transaction, answer) and self._client.confirmed(answer, quantity(head))
            ]
            if not receipts:
                return
            for receipt, there in zip(receipts, await self._client.canonical(receipts), strict=True):
                if there:
                    self._answer(receipt["transactionHash"].lower(), receipt)
        except RpcUnavailable:
            return

    def _answer(self, transaction: str, receipt: Receipt) -> None:
        for answered in self._waiting.get(transaction, ()):
            if not answered.done():
                answered.set_result(receipt)


def about(transaction: str, answer: Any) -> bool:
    """Whether an answer is a receipt, and of this very transaction."""
    return isinstance(answer, dict) and str(answer.get("transactionHash")).lower() == transaction

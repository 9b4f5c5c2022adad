"""The x402 rail: a chain for all lanes, and for each an endpoint of it that can fail, a payee and payers."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from crash.audit import PAID
from crash.evidence import Evidence, Execution, Finding, Transfer
from crash.rail import Kind, Rail
from crash.wants import PRICE, Want
from crash.x402_buyers import Signers
from crash.x402_faults import RPC_FAULTS
from crash.x402_transfers import mined, transfers_to
from kit.accounts import new_account
from kit.anvil import Anvil
from kit.faultproxy import FaultProxy
from kit.gateway import plain_config

from gateway.devchain.accounts import DevAccount

PAYERS = 6
WEALTH = 10**12
"""Atomic units every payer begins with: nobody runs out."""


def a_cent_each(evidence: Evidence) -> Iterator[Finding]:
    for payment, transfers in evidence.paid.items():
        if any(each.amount != PRICE for each in transfers):
            yield Finding("another amount", str([each.amount for each in transfers]), (payment,))


def sums_agree(evidence: Evidence) -> Iterator[Finding]:
    recorded = sum(int(each["amount"]) for each in evidence.records.values() if each["state"] in PAID)
    arrived = sum(transfer.amount for transfer in evidence.transfers)
    if recorded != arrived:
        yield Finding("sums differ", f"the ledger says {recorded}, the chain {arrived}")


class OnX402:
    """Payers sign, and a local facilitator settles."""

    name = "the RPC"
    streams = False
    rules = (a_cent_each, sums_agree)

    def __init__(self, anvil: Anvil) -> None:
        self._anvil = anvil
        self._rpc = FaultProxy(anvil.url)
        self._payee = new_account()
        self._payers = [new_account() for _ in range(PAYERS)]
        for payer in self._payers:
            anvil.mint(payer.address, WEALTH)
        self._transfers: list[Transfer] = []
        self._rpc.clear()

    def config(self, moments: Sequence[str]) -> dict[str, Any]:
        sender = new_account()
        self._anvil.rpc("anvil_setBalance", sender.address, hex(10**20))
        config = plain_config(
            upstream="",
            rpc=self._rpc.url,
            pay_to=self._payee.address,
            key=sender.key,
            routes=[_route(moment) for moment in moments],
        )
        # Short times, so that whatever can only be waited for is over soon.
        config["networks"]["localdev"] |= {"settle_within": "10s", "finality": 2}
        config["rails"]["x402"]["max_timeout"] = "60s"
        # Few clients buy at once: payments wait longer for each other than they would.
        config["rails"]["x402"]["batch"] = {"max_wait": "400ms", "max_size": 5}
        return config

    def payer(self, number: int) -> DevAccount:
        return self._payers[number]

    def buyers(self, url: str) -> Signers:
        return Signers(url, self._anvil.chain_id, self._anvil.token, self._proof)

    def fail(self, fault: str) -> None:
        RPC_FAULTS[fault](self._rpc)

    def mend(self) -> None:
        self._rpc.clear()

    def evidence(
        self, wants: Sequence[Want], ledger: Sequence[dict[str, Any]], executions: Sequence[Execution]
    ) -> Evidence:
        self._transfers = transfers_to(self._anvil, self._payee.address)
        return Evidence(list(wants), ledger, self._transfers, executions)

    def told(self) -> str:
        transactions = Counter(transfer.transaction for transfer in self._transfers)
        together = sum(count for count in transactions.values() if count > 1)
        return f"{together} of {len(self._transfers)} payments travelled together with others"

    def close(self) -> None:
        self._rpc.refuse()

    async def _proof(self, transaction: str) -> bool:
        return await asyncio.to_thread(mined, self._anvil, transaction)


@contextmanager
def _opened() -> Iterator[Callable[[], Rail]]:
    with Anvil(block_time=1) as anvil:
        anvil.place_token()
        anvil.place_batcher()
        yield lambda: OnX402(anvil)


X402 = Kind(tuple(RPC_FAULTS), 0.12, _opened)


def _route(moment: str) -> dict[str, Any]:
    """A cent; the default moment is not said."""
    route = {"match": f"* /{moment}/**", "price": "$0.01"}
    return route if moment == "after" else route | {"settle": moment}

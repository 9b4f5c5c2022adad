"""Who pays by x402: the official client as its users retry with it, and careful ones that sign themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import httpx
from crash.clients import PAUSE, Buyers, pause
from crash.wants import Reply, Signed, Want, signed_of
from eth_account import Account
from kit.answers import Answer
from kit.payments import pay_challenge
from x402 import x402Client
from x402.http.clients.httpx import x402_httpx_transport
from x402.mechanisms.evm import EthAccountSigner
from x402.mechanisms.evm.exact import register_exact_evm_client

HEADER = "PAYMENT-SIGNATURE"

Proof = Callable[[str], Awaitable[bool]]
"""Whether a transaction is on the chain, and did not fail."""


class Witness(httpx.AsyncBaseTransport):
    """Notes every authorization that goes out, with whoever wants something by it."""

    def __init__(self, read: Callable[[str], Signed]) -> None:
        self._transport = httpx.AsyncHTTPTransport(limits=httpx.Limits(max_keepalive_connections=20))
        self._read = read

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        header = request.headers.get(HEADER)
        if header is not None:
            request.extensions["want"].note(self._read(header))
        return await self._transport.handle_async_request(request)

    async def aclose(self) -> None:
        await self._transport.aclose()


class Signers(Buyers):
    """Everybody who signs."""

    def __init__(self, url: str, chain_id: int, asset: str, proof: Proof) -> None:
        self._witness = Witness(lambda header: signed_of(header, chain_id, asset))
        super().__init__(url, self._witness)
        self._proof = proof
        self._official: dict[str, httpx.AsyncClient] = {}

    def _stock(self, want: Want) -> tuple[httpx.AsyncClient, Mapping[str, str]]:
        """The official client, which answers every challenge with a new signature."""
        if want.payer.address not in self._official:
            payer = register_exact_evm_client(
                x402Client(), EthAccountSigner(Account.from_key(want.payer.key))
            )
            transport = x402_httpx_transport(payer, self._witness)
            self._official[want.payer.address] = httpx.AsyncClient(transport=transport)
        return self._official[want.payer.address], {}

    async def _paid(self, want: Want) -> Mapping[str, str] | None:
        reply = await self._ask(self._plain, want, {})
        if isinstance(reply, Reply):
            await asyncio.sleep(pause(reply))
            return None
        if reply.status != 402:
            await asyncio.sleep(PAUSE)
            return None
        return pay_challenge(want.payer.key, reply).headers

    def _receipt(self, answer: Answer) -> dict[str, Any] | None:
        return answer.receipt

    async def _check_receipt(self, want: Want, reply: Reply) -> None:
        """Where money comes first, it is on the chain by the time the answer is here."""
        if reply.receipt is None or not reply.receipt.get("success"):
            want.wrong.append(f"an answer without a receipt that says it is paid: {reply.receipt}")
        elif want.errand.moment != "deferred" and not await self._proof(reply.receipt["transaction"]):
            want.wrong.append(f"answered before its transaction was mined: {reply.receipt['transaction']}")

"""The official Python client, x402 2.25, on both HTTP libraries it supports."""

from __future__ import annotations

from collections.abc import Mapping

import httpx
from eth_account import Account
from x402 import x402Client, x402ClientSync
from x402.http.clients.httpx import x402_httpx_transport
from x402.http.clients.requests import x402_requests
from x402.mechanisms.evm import EthAccountSigner
from x402.mechanisms.evm.exact import register_exact_evm_client

from kit.answers import Answer, joined

_TIMEOUT = 30.0


async def buy_httpx(
    url: str, key: str, method: str = "GET", body: str = "", headers: Mapping[str, str] | None = None
) -> Answer:
    """Buys with x402's httpx transport (async)."""
    payer = register_exact_evm_client(x402Client(), EthAccountSigner(Account.from_key(key)))
    async with httpx.AsyncClient(transport=x402_httpx_transport(payer), timeout=_TIMEOUT) as client:
        reply = await client.request(method, url, content=body or None, headers=dict(headers or {}))
        return Answer(reply.status_code, joined(reply.headers.multi_items()), reply.content)


def buy_requests(
    url: str, key: str, method: str = "GET", body: str = "", headers: Mapping[str, str] | None = None
) -> Answer:
    """Buys with x402's requests adapter (sync)."""
    payer = register_exact_evm_client(x402ClientSync(), EthAccountSigner(Account.from_key(key)))
    with x402_requests(payer) as session:
        reply = session.request(method, url, data=body or None, headers=dict(headers or {}), timeout=_TIMEOUT)
        return Answer(reply.status_code, joined(reply.headers.items()), reply.content)

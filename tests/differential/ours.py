"""Our facilitator behind HTTP, with nothing on record."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import ClientSession, web
from differential.official import Verdict
from kit.anvil import Anvil

from facilitator.asked import Reader, Served, Token
from facilitator.base import InFlight, Purse, Settlement, Unknown
from facilitator.chain import Chain
from facilitator.http1.client import Client
from facilitator.local import LocalFacilitator
from facilitator.server import Service
from facilitator.wire import PaymentPayload, PaymentRequirements

BUDGET = 6.0
"""Seconds: the SDKs' own margin, so that times can be compared."""


class NothingRecorded:
    """Settlements of a facilitator that was never asked before."""

    async def purse(self, payload: PaymentPayload, requirements: PaymentRequirements) -> Purse:
        return Purse(0, _nothing)

    async def settle_once(self, payload: PaymentPayload, requirements: PaymentRequirements) -> Settlement:
        return Unknown()


async def _nothing() -> Sequence[InFlight]:
    return []


class Ours:
    """A client of it."""

    def __init__(self, url: str, session: ClientSession) -> None:
        self._url = url
        self._session = session

    async def verify(self, body: dict[str, Any]) -> Verdict:
        async with self._session.post(self._url, data=json.dumps(body).encode()) as reply:
            told = await reply.json(content_type=None)
        if reply.status != 200:
            return Verdict(None, f"{reply.status} {told['code']}")
        return Verdict(told["isValid"], told.get("invalidReason", ""))


@asynccontextmanager
async def serving(rpc: str, key: str) -> AsyncIterator[Ours]:
    """It runs in this event loop."""
    token = Token(Anvil.token, "USDC", "2")
    served = Served("eip155:84532", 84532, "base-sepolia", {Anvil.token.lower(): token})
    chain = Chain(84532, "eip155:84532", (rpc,), 1, 64, BUDGET, 50)
    async with ClientSession(trust_env=False) as session:
        client = Client()
        facilitator = LocalFacilitator([chain], [key], client)
        service = Service(Reader([served]), facilitator, NothingRecorded(), keys=[], health=dict)
        runner = web.ServerRunner(web.Server(service))
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        try:
            yield Ours(f"http://127.0.0.1:{port}/verify", session)
        finally:
            await runner.cleanup()
            await facilitator.close()
            client.close()

"""The official Python facilitator behind HTTP: ``exact`` on EVM, both versions, on a chain of ours.

with OfficialFacilitator(anvil.url, key) as there:
    ...
    assert there.asked == ["/supported", "/verify", "/settle"]
"""

from __future__ import annotations

import asyncio
import threading
from types import TracebackType
from typing import Any, Self

from aiohttp import web
from x402 import x402FacilitatorSync
from x402.mechanisms.evm import FacilitatorWeb3Signer
from x402.mechanisms.evm.exact import register_exact_evm_facilitator
from x402.schemas.helpers import parse_payment_payload, parse_payment_requirements

NETWORK = "eip155:84532"
_PATIENCE = 5.0


class OfficialFacilitator:
    """``key`` pays gas. It runs in a thread of its own: usable from tests of either kind."""

    def __init__(self, rpc: str, key: str) -> None:
        self.asked: list[str] = []
        self.url = ""
        self._facilitator = x402FacilitatorSync()
        signer = FacilitatorWeb3Signer(private_key=key, rpc_url=rpc)
        register_exact_evm_facilitator(self._facilitator, signer, NETWORK)
        self._one_at_a_time = threading.Lock()  # its nonces are counted by the node
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="official", daemon=True)
        self._runner: web.AppRunner | None = None

    async def _answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        if request.path == "/supported":
            found: Any = self._facilitator.get_supported()
        else:
            found = await asyncio.to_thread(self._judge, request.path, await request.json())
        return web.json_response(found.model_dump(by_alias=True, exclude_none=True))

    def _judge(self, path: str, body: dict[str, Any]) -> Any:
        payment = parse_payment_payload(body["paymentPayload"])
        terms = parse_payment_requirements(payment.x402_version, body["paymentRequirements"])
        with self._one_at_a_time:
            judge = self._facilitator.verify if path == "/verify" else self._facilitator.settle
            return judge(payment, terms)

    async def _open(self) -> None:
        app = web.Application()
        app.router.add_get("/supported", self._answer)
        app.router.add_post("/verify", self._answer)
        app.router.add_post("/settle", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.05)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def _close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._open(), self._loop).result(_PATIENCE)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(_PATIENCE)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_PATIENCE)
        self._loop.close()

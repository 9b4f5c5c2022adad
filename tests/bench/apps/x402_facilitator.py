"""The official Python facilitator on uvicorn: ``python -m bench.apps.x402_facilitator PORT RPC KEY``

``exact`` on EVM. Its nonces are counted by the node, so that only one settlement may be under way at a time.
"""

from __future__ import annotations

import sys
import threading
from typing import Any

import uvicorn
from bench.apps.goods import NETWORK
from fastapi import FastAPI, Request
from starlette.concurrency import run_in_threadpool
from x402 import x402FacilitatorSync
from x402.mechanisms.evm import FacilitatorWeb3Signer
from x402.mechanisms.evm.exact import register_exact_evm_facilitator
from x402.schemas.helpers import parse_payment_payload, parse_payment_requirements


def _app(rpc: str, key: str) -> FastAPI:
    facilitator = x402FacilitatorSync()
    signer = FacilitatorWeb3Signer(private_key=key, rpc_url=rpc)
    register_exact_evm_facilitator(facilitator, signer, NETWORK)
    one_at_a_time = threading.Lock()
    app = FastAPI()

    def settle(payment: Any, terms: Any) -> Any:
        with one_at_a_time:
            return facilitator.settle(payment, terms)

    async def judge(request: Request, judged: Any) -> Any:
        body = await request.json()
        payment = parse_payment_payload(body["paymentPayload"])
        terms = parse_payment_requirements(payment.x402_version, body["paymentRequirements"])
        found = await run_in_threadpool(judged, payment, terms)
        return found.model_dump(by_alias=True, exclude_none=True)

    @app.get("/supported")
    def supported() -> Any:
        return facilitator.get_supported().model_dump(by_alias=True, exclude_none=True)

    @app.post("/verify")
    async def verify_one(request: Request) -> Any:
        return await judge(request, facilitator.verify)

    @app.post("/settle")
    async def settle_one(request: Request) -> Any:
        return await judge(request, settle)

    return app


if __name__ == "__main__":
    app = _app(*sys.argv[2:])
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=False, log_level="warning")

"""x402's FastAPI middleware: ``python -m bench.apps.x402_fastapi PORT FACILITATOR PAY-TO [UPSTREAM]``"""

from __future__ import annotations

import sys

import httpx
import uvicorn
from bench.apps.goods import GOODS, NETWORK, PATH, priced
from fastapi import FastAPI, Request, Response
from x402 import x402ResourceServer
from x402.http import FacilitatorConfig, HTTPFacilitatorClient
from x402.http.middleware.fastapi import PaymentMiddlewareASGI
from x402.mechanisms.evm.exact import register_exact_evm_server

_HOP = {"connection", "keep-alive", "transfer-encoding", "host"}


def _app(facilitator: str, pay_to: str, upstream: str | None) -> FastAPI:
    server = x402ResourceServer(HTTPFacilitatorClient(FacilitatorConfig(url=facilitator)))
    register_exact_evm_server(server, NETWORK)
    app = FastAPI()
    app.add_middleware(PaymentMiddlewareASGI, routes=priced(pay_to), server=server)
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=512)
    client = httpx.AsyncClient(base_url=upstream or "", limits=limits, timeout=30)

    async def own(request: Request) -> Response:
        return Response(GOODS, media_type="text/plain")

    async def forward(request: Request) -> Response:
        sent = {name: value for name, value in request.headers.items() if name not in _HOP}
        answer = await client.request(request.method, request.url.path, headers=sent)
        got = {name: value for name, value in answer.headers.items() if name not in _HOP}
        return Response(answer.content, answer.status_code, got)

    app.add_api_route(PATH, forward if upstream else own)
    return app


if __name__ == "__main__":
    port, facilitator, pay_to, *more = sys.argv[1:]
    app = _app(facilitator, pay_to, more[0] if more else None)
    uvicorn.run(app, host="127.0.0.1", port=int(port), access_log=False, log_level="warning")

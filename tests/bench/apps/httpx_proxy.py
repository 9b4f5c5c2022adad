"""A proxy of starlette and httpx on uvicorn: ``python -m bench.apps.httpx_proxy PORT UPSTREAM``"""

from __future__ import annotations

import sys

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_HOP = {"connection", "keep-alive", "transfer-encoding", "host"}


def _app(upstream: str) -> Starlette:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=512)
    client = httpx.AsyncClient(base_url=upstream, limits=limits, timeout=30)

    async def forward(request: Request) -> Response:
        sent = {name: value for name, value in request.headers.items() if name not in _HOP}
        target = httpx.URL(path=request.url.path, query=request.url.query.encode())
        answer = await client.request(request.method, target, headers=sent, content=await request.body())
        got = {name: value for name, value in answer.headers.items() if name not in _HOP}
        return Response(answer.content, answer.status_code, got)

    return Starlette(routes=[Route("/{path:path}", forward, methods=["GET", "POST"])])


if __name__ == "__main__":
    uvicorn.run(
        _app(sys.argv[2]), host="127.0.0.1", port=int(sys.argv[1]), access_log=False, log_level="warning"
    )

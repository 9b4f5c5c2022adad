"""The least aiohttp can do for a 402: ``python -m bench.apps.bare PORT BODY-BYTES HEADER-BYTES``"""

from __future__ import annotations

import asyncio
import sys

import uvloop
from aiohttp import web


async def _serve(port: int, body: int, header: int) -> None:
    ready = b"x" * body
    fields = {"PAYMENT-REQUIRED": "x" * header, "Content-Type": "application/json"}

    async def handler(request: web.BaseRequest) -> web.Response:
        return web.Response(status=402, body=ready, headers=fields)

    server = web.Server(handler)
    await asyncio.get_running_loop().create_server(server, "127.0.0.1", port, backlog=1024)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_serve(*map(int, sys.argv[1:])))

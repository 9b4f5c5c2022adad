"""A plain aiohttp proxy: ``python -m bench.apps.aiohttp_proxy PORT UPSTREAM``

Small answers are passed on whole, large ones streamed.
"""

from __future__ import annotations

import asyncio
import sys

import aiohttp
import uvloop
from aiohttp import web
from yarl import URL

_HOP = {"connection", "keep-alive", "transfer-encoding", "host"}
_WHOLE = 64 * 1024


async def _serve(port: int, upstream: str) -> None:
    connector = aiohttp.TCPConnector(limit=0)
    session = aiohttp.ClientSession(
        connector=connector, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False
    )

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        sent = {name: value for name, value in request.headers.items() if name.lower() not in _HOP}
        data = await request.read() if request.can_read_body else None
        target = URL(upstream + request.raw_path, encoded=True)
        async with session.request(
            request.method, target, headers=sent, data=data, allow_redirects=False
        ) as answer:
            got = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP}
            if answer.content_length is not None and answer.content_length <= _WHOLE:
                return web.Response(status=answer.status, headers=got, body=await answer.read())
            response = web.StreamResponse(status=answer.status, headers=got)
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
            return response

    server = web.Server(handler)
    await asyncio.get_running_loop().create_server(server, "127.0.0.1", port, backlog=1024)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]), sys.argv[2]))

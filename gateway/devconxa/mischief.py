"""What a fault does to the answer of a call."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from email.utils import formatdate

from aiohttp import web

from gateway.devconxa.faults import Rule
from gateway.devconxa.replies import Reply, error

_GLANCE = 0.05
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


def gone(request: web.Request) -> bool:
    """Whether nobody can be answered any more."""
    return request.transport is None or request.transport.is_closing()


async def hang(request: web.Request) -> None:
    """Returns when the client has given up."""
    while not gone(request):  # noqa: ASYNC110 - aiohttp tells nobody of an end
        await asyncio.sleep(_GLANCE)


def reset(request: web.Request) -> None:
    """Ends the connection with an RST, as a crash or a middlebox would."""
    if request.transport is None:
        return
    raw: socket.socket | None = request.transport.get_extra_info("socket")
    if raw is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    request.transport.abort()


def error_of(rule: Rule) -> Reply:
    """The error a rule answers with."""
    if rule.kind == "rate_limit":
        return error(429, "Rate limit exceeded", rule.error_code)
    return error(rule.code, rule.message, rule.error_code)


def headers_of(rule: Rule) -> dict[str, str]:
    """``Retry-After`` where the rule has one."""
    if rule.retry_after is None:
        return {}
    date = formatdate(time.time() + rule.retry_after, usegmt=True)
    return {"Retry-After": date if rule.http_date else str(rule.retry_after)}


def nonsense(rule: Rule) -> web.Response:
    """A 200 that says nothing: no JSON at all, or an object with none of the fields that matter."""
    if rule.kind == "garbage":
        return web.Response(text="<html><body>It works!</body></html>", content_type="text/html")
    return web.json_response({"result": {"ok": True}})

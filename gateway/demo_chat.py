"""A small API for ``tollway demo --rail conxa``: chat completions as OpenAI shapes them, JSON and SSE.

It counts a token for each word, and knows nothing of payments.
"""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

from aiohttp import web

_REPLY = "Hello! Every word of this answer was paid for, out of a wallet that was connected once."
_PAUSE = 0.04
"""Seconds between two words of a stream."""
_WORD = re.compile(r"\w+")


def chat_api() -> web.Application:
    """Chats, a fortune for browsers to buy, and a health check."""
    app = web.Application()
    app.add_routes(
        [
            web.post("/v1/chat/completions", _chat),
            web.get("/v1/fortune", _fortune),
            web.get("/health", _health),
        ]
    )
    return app


async def _fortune(_: web.Request) -> web.Response:
    return web.json_response({"fortune": "Whoever asks will be answered."})


async def _health(_: web.Request) -> web.Response:
    return web.json_response({"ok": True})


async def _chat(request: web.Request) -> web.StreamResponse:
    try:
        asked = await request.json()
        model, messages = asked["model"], asked["messages"]
    except (ValueError, KeyError, TypeError):
        told = {"message": "an object with `model` and `messages` is wanted", "type": "invalid_request_error"}
        return web.json_response({"error": told}, status=400)
    usage = _usage(messages)
    if asked.get("stream") is True:
        counted = asked.get("stream_options") == {"include_usage": True}
        return await _stream(request, model, usage if counted else None)
    message = {"role": "assistant", "content": _REPLY}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return web.json_response(_body("chat.completion", model, [choice], usage=usage))


async def _stream(request: web.Request, model: str, usage: dict[str, int] | None) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for word in re.split(r"(?<= )", _REPLY):
        choice = {"index": 0, "delta": {"content": word}, "finish_reason": None}
        await _send(response, _body("chat.completion.chunk", model, [choice]))
        await asyncio.sleep(_PAUSE)
    if usage is not None:
        await _send(response, _body("chat.completion.chunk", model, [], usage=usage))
    await response.write(b"data: [DONE]\n\n")
    return response


async def _send(response: web.StreamResponse, event: dict[str, Any]) -> None:
    await response.write(b"data: " + json.dumps(event).encode() + b"\n\n")


def _body(kind: str, model: str, choices: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {"id": "chatcmpl-demo", "object": kind, "model": model, "choices": choices, **more}


def _usage(messages: object) -> dict[str, int]:
    asked, said = len(_WORD.findall(json.dumps(messages))), len(_WORD.findall(_REPLY))
    return {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}

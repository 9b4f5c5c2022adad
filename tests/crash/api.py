"""The API that is sold: shaped like OpenAI's, with the number of each execution in its answer."""

from __future__ import annotations

import asyncio
import json

from crash.plan import Errand
from kit.upstream import Behaviour, Exchange

MODEL = "gpt-4o"


def works(errand: Errand, *, streamed: bool) -> Behaviour:
    """200 after a while; ``streamed``: as events, half of the while between them."""

    async def whole(exchange: Exchange) -> bool:
        await asyncio.sleep(errand.delay)
        said = {"role": "assistant", "content": "x" * errand.size}
        told = {"model": MODEL, "choices": [{"index": 0, "message": said}]}
        body = json.dumps({"number": exchange.number, **told, "usage": _usage(exchange.number)}).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        await exchange.send(head.encode() + body)
        return True

    async def events(exchange: Exchange) -> bool:
        await asyncio.sleep(errand.delay / 2)
        kind = "Content-Type: text/event-stream\r\nTransfer-Encoding: chunked"
        await exchange.send(f"HTTP/1.1 200 OK\r\n{kind}\r\n\r\n".encode())
        for text in ("", "x" * errand.size, "."):
            choice = {"index": 0, "delta": {"content": text}}
            await exchange.send(_event({"number": exchange.number, "model": MODEL, "choices": [choice]}))
            await asyncio.sleep(errand.delay / 6)
        await exchange.send(_event({"model": MODEL, "choices": [], "usage": _usage(exchange.number)}))
        await exchange.send(_chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")
        return True

    return events if streamed else whole


def used(number: int) -> tuple[int, int]:
    """Input and output tokens of an execution: no two have the same."""
    return number, 10_000 + number


def numbered(answer: bytes) -> int:
    """Which execution an answer is the work of; of events the first one says it."""
    first = answer.removeprefix(b"data: ").partition(b"\n\n")[0]
    number: int = json.loads(first)["number"]
    return number


def _usage(number: int) -> dict[str, int]:
    prompt, completion = used(number)
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _event(element: dict[str, object]) -> bytes:
    return _chunk(b"data: %b\n\n" % json.dumps(element).encode())


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)

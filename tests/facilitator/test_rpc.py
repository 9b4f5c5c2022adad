"""The JSON-RPC client against servers that fail in every way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from facilitator.http1.client import Client
from facilitator.rpc import MAX_ANSWER, Rpc, RpcError, RpcUnavailable

Serve = Callable[[Callable[[list[dict[str, Any]]], Any]], Awaitable["Node"]]


class Node:
    """One endpoint; ``asked`` is every batch it was sent."""

    def __init__(self, answer: Callable[[list[dict[str, Any]]], Any]) -> None:
        self.answer = answer
        self.asked: list[list[dict[str, Any]]] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        calls = await request.json()
        self.asked.append(calls)
        answer = self.answer(calls)
        if isinstance(answer, web.StreamResponse):
            return answer
        return web.json_response(await answer if asyncio.iscoroutine(answer) else answer)


def healthy(calls: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "jsonrpc": "2.0",
            "id": call["id"],
            "result": "0x14a34" if call["method"] == "eth_chainId" else call["method"],
        }
        for call in reversed(calls)
    ]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    servers: list[TestServer] = []

    async def start(answer: Callable[[list[dict[str, Any]]], Any]) -> Node:
        node = Node(answer)
        app = web.Application()
        app.router.add_post("/{rest:.*}", node.handle)
        server = TestServer(app)
        await server.start_server()
        servers.append(server)
        node.url = str(server.make_url("/secret-key"))
        return node

    yield start
    for server in servers:
        await server.close()


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    with Client() as opened:
        yield opened


CALLS = [("a", (1,)), ("b", ())]


async def test_one_round_trip_and_the_chain_id_once(serve: Serve, client: Client) -> None:
    node = await serve(healthy)
    rpc = Rpc(client, [node.url], 84532)
    assert await rpc.batch(CALLS) == ["a", "b"]
    assert await rpc.batch(CALLS) == ["a", "b"]
    assert [len(calls) for calls in node.asked] == [3, 2]
    assert node.asked[0][1]["params"] == [1]


async def test_long_batches_are_divided(serve: Serve, client: Client) -> None:
    node = await serve(healthy)
    rpc = Rpc(client, [node.url], 84532)
    assert await rpc.batch([(str(number), ()) for number in range(150)]) == [
        str(number) for number in range(150)
    ]
    assert [len(calls) for calls in node.asked] == [65, 64, 22]


async def test_errors_are_values(serve: Serve, client: Client) -> None:
    def answer(calls: list[dict[str, Any]]) -> list[dict[str, Any]]:
        one, two, three = healthy(calls)
        return [one, {"id": two["id"], "error": {"code": 3, "message": "no", "data": "0x1"}}, three]

    node = await serve(answer)
    assert await Rpc(client, [node.url], 84532).batch(CALLS) == [RpcError(3, "no", "0x1"), "b"]


async def hang(calls: list[dict[str, Any]]) -> None:
    await asyncio.sleep(30)


def drip(calls: list[dict[str, Any]]) -> web.Response:
    return web.Response(body=b" " * (MAX_ANSWER + 1))


BROKEN: dict[str, Callable[[list[dict[str, Any]]], Any]] = {
    "http 500": lambda calls: web.Response(status=500),
    "http 429": lambda calls: web.json_response(healthy(calls), status=429),
    "redirect": lambda calls: web.Response(status=307, headers={"Location": "/elsewhere"}),
    "html": lambda calls: web.Response(text="<html>"),
    "empty": lambda calls: web.Response(text=""),
    "one error for all": lambda calls: {"id": None, "error": {"code": -32600, "message": "batch too large"}},
    "a missing answer": lambda calls: healthy(calls)[:-1],
    "another call's answers": lambda calls: [each | {"id": each["id"] - 7} for each in healthy(calls)],
    "no objects": lambda calls: [1, 2, 3],
    "wrong chain": lambda calls: [{"id": call["id"], "result": "0x1"} for call in calls],
    "too much": drip,
    "silence": hang,
}


@pytest.mark.parametrize("case", BROKEN)
async def test_fails_over(case: str, serve: Serve, client: Client) -> None:
    broken, good = await serve(BROKEN[case]), await serve(healthy)
    rpc = Rpc(client, [broken.url, good.url], 84532, timeout=0.3)
    assert await rpc.batch(CALLS) == ["a", "b"]
    assert len(broken.asked) == 1
    assert await rpc.batch(CALLS) == ["a", "b"]
    assert len(broken.asked) == 1, "an endpoint that failed rests"


@pytest.mark.parametrize("case", BROKEN)
async def test_alone_it_is_unavailable(case: str, serve: Serve, client: Client) -> None:
    broken = await serve(BROKEN[case])
    with pytest.raises(RpcUnavailable) as raised:
        await Rpc(client, [broken.url], 84532, timeout=0.3).batch(CALLS)
    assert "secret-key" not in str(raised.value)


async def test_nobody_listens(client: Client) -> None:
    with pytest.raises(RpcUnavailable):
        await Rpc(client, ["http://127.0.0.1:1/"], 84532).call("a")


async def test_a_connection_closed_while_idle_is_not_a_failure(client: Client) -> None:
    """The other side drops its kept connection just as we use it: asked again once, then believed."""
    accepted = 0

    async def serve_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal accepted
        accepted += 1
        for turn in range(2):
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
            calls = json.loads(await reader.readexactly(length))
            if turn == 1 and accepted == 1:
                break
            body = json.dumps(healthy(calls)).encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        writer.close()

    server = await asyncio.start_server(serve_once, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    rpc = Rpc(client, [f"http://127.0.0.1:{port}/"], 84532)
    assert await rpc.call("a") == "a"
    assert await rpc.call("b") == "b"
    assert accepted == 2
    server.close()

"""Connections are kept, found dead, never used twice at once; on both event loops, over real sockets."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop

from facilitator.http1 import pool as pool_module
from facilitator.http1.errors import Closed, TimedOut, Unreachable
from facilitator.http1.origin import Origin
from facilitator.http1.pool import Peer, Pool

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
Runner = Callable[[Awaitable[None]], None]


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Runner:
    runner: Runner = request.param
    return runner


class Server:
    """Answers every request with ``answers`` in turn; None hangs up, and the last one stays."""

    def __init__(self, *answers: bytes | None) -> None:
        self.answers = list(answers or [OK])
        self.connections: list[asyncio.StreamWriter] = []
        self.heard = 0
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append(writer)
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                self.heard += 1
                answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                if answer is None:
                    break
                writer.write(answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.close()


@asynccontextmanager
async def serving(*answers: bytes | None) -> AsyncIterator[tuple[Server, Peer]]:
    server, pool = Server(*answers), Pool()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server, pool.to(Origin("127.0.0.1", server.port, False))
    finally:
        pool.close()
        listening.close()


async def fetch(peer: Peer, **how: Any) -> bytes:
    with await peer.ask(GET, **how) as answer:
        content = b""
        while chunk := await answer.read():
            content += chunk
        return content


def test_a_connection_is_kept(run: Runner) -> None:
    async def scene() -> None:
        async with serving() as (server, peer):
            for _ in range(5):
                assert await fetch(peer) == b"ok"
            assert (len(server.connections), server.heard) == (1, 5)

    run(scene())


def test_each_exchange_has_a_connection_of_its_own(run: Runner) -> None:
    async def scene() -> None:
        async with serving() as (server, peer):
            assert await asyncio.gather(*(fetch(peer) for _ in range(20))) == [b"ok"] * 20
            opened = len(server.connections)
            assert await asyncio.gather(*(fetch(peer) for _ in range(opened))) == [b"ok"] * opened
            assert len(server.connections) == opened == 20

    run(scene())


@pytest.mark.parametrize("says", [b"", OK, b"\r\n"], ids=["end", "answer", "line"])
def test_a_connection_that_ended_or_spoke_while_idle_is_not_used(says: bytes, run: Runner) -> None:
    async def scene() -> None:
        async with serving() as (server, peer):
            assert await fetch(peer) == b"ok"
            if says:
                server.connections[0].write(says)
            else:
                server.connections[0].close()
            await asyncio.sleep(0.02)
            assert await fetch(peer) == b"ok"
            assert (len(server.connections), server.heard) == (2, 2)

    run(scene())


def test_nothing_is_sent_twice(run: Runner) -> None:
    async def scene() -> None:
        async with serving(OK, None, OK) as (server, peer):
            assert await fetch(peer) == b"ok"
            with pytest.raises(Closed):
                await fetch(peer)
            assert server.heard == 2
            assert await fetch(peer) == b"ok"

    run(scene())


def test_whoever_gives_up_leaves_a_closed_connection(run: Runner) -> None:
    async def scene() -> None:
        half = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"
        async with serving(b"", half, OK) as (server, peer):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02):
                    await fetch(peer)
            with pytest.raises(TimedOut):
                await fetch(peer, patience=0.02)
            assert await fetch(peer) == b"ok" and len(server.connections) == 3

    run(scene())


def test_large_answers_are_whole(run: Runner) -> None:
    async def scene() -> None:
        body = bytes(range(256)) * 8192
        async with serving(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body) as (_, peer):
            for _ in range(3):
                assert await fetch(peer) == body

    run(scene())


def test_idle_connections_are_closed_after_a_while(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "KEPT", 0.05)

    async def scene() -> None:
        async with serving() as (server, peer):
            await asyncio.gather(fetch(peer), fetch(peer))
            await asyncio.sleep(0.03)
            assert await fetch(peer) == b"ok"
            await asyncio.sleep(0.04)
            assert len(peer._idle) == 1, "the newest is used first"
            await asyncio.sleep(0.06)
            assert not peer._idle and not peer._all and len(server.connections) == 2

    run(scene())


def test_closing_ends_what_goes_on(run: Runner) -> None:
    async def scene() -> None:
        async with serving(OK, b"") as (_, peer):
            await fetch(peer)
            waiting = asyncio.ensure_future(fetch(peer))
            await asyncio.sleep(0.02)
            peer.close()
            with pytest.raises(Exception, match="given up"):
                await waiting
            await asyncio.sleep(0)
            assert not peer._all

    run(scene())


def test_nobody_there(run: Runner) -> None:
    async def scene() -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            peer = Pool().to(Origin("127.0.0.1", taken.getsockname()[1], False))
            with pytest.raises(Unreachable):
                await fetch(peer, connect=1.0)

    run(scene())


@pytest.mark.parametrize("bound", ["connect", "until"])
def test_connecting_has_a_limit(bound: str, run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        peer = Pool().to(Origin("127.0.0.1", 1, False))

        async def never(make: Any) -> Any:
            await asyncio.Event().wait()

        monkeypatch.setattr(peer._dialler, "connect", never)
        limit = (
            {"connect": 0.02} if bound == "connect" else {"until": asyncio.get_running_loop().time() + 0.02}
        )
        with pytest.raises(Unreachable):
            await fetch(peer, **limit)

    run(scene())


def test_the_same_origin_is_the_same_peer() -> None:
    pool = Pool()
    assert pool.to(Origin.of("http://a:80")) is pool.to(Origin.of("http://A/base"))
    assert pool.to(Origin.of("http://a")) is not pool.to(Origin.of("https://a:80"))


def test_tls_checks_certificates_and_names() -> None:
    context = Pool()._context()
    assert context.check_hostname and context.verify_mode is ssl.CERT_REQUIRED

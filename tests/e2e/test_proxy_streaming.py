"""Free routes stream: bytes pass as they come, a peer that stops is noticed, memory stays flat."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Iterator

import pytest
from kit.anvil import Anvil
from kit.deployment import Deployment, deployed
from kit.dialogue import Dialogue, request
from kit.process import resident
from kit.upstream import Behaviour, Exchange
from kit.upstream_answers import die_in_mid_body, endless, hang, reset

# Memory and descriptors are counted: an executed gateway's.
pytestmark = pytest.mark.usefixtures("executed")

MEGABYTE = 1 << 20
LARGE = 100
"""Megabytes of a large transfer."""
GROWTH = 24
"""Megabytes the gateway may grow by under one."""


@pytest.fixture(scope="module")
def plain(anvil: Anvil, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    limits = {"max_request_body": "200MiB"}
    folder = tmp_path_factory.mktemp("gateway")
    routes = [
        {"match": "* /free/hasty/**", "price": "free", "timeout": "600ms"},
        {"match": "* /free/**", "price": "free"},
    ]
    with deployed(anvil, folder, server=limits, routes=routes) as deployment:
        yield deployment
        assert "Traceback" not in deployment.gateway.logs()


@pytest.fixture
def client(plain: Deployment) -> Iterator[Dialogue]:
    plain.upstream.forget()
    with Dialogue(plain.url) as dialogue:
        yield dialogue


def step_by_step(*pieces: bytes, until: list[threading.Event], head: bytes) -> Behaviour:
    """One piece, then the test's word, then the next."""

    async def answer(exchange: Exchange) -> bool:
        await exchange.send(head)
        for piece, word in zip(pieces, until, strict=True):
            await exchange.send(piece)
            while not word.is_set():  # noqa: ASYNC110 - the event belongs to the test's thread
                await asyncio.sleep(0.005)
        return False

    return answer


def watched(ended: threading.Event, first: bytes = b"") -> Behaviour:
    """Sends the beginning of an answer, then waits until its client has gone."""

    async def answer(exchange: Exchange) -> bool:
        await exchange.send(first)
        try:
            while await exchange.reader.read(MEGABYTE):
                continue
        except ConnectionError:
            pass
        ended.set()
        return False

    return answer


def paced(*pieces: bytes) -> Behaviour:
    """The pieces with pauses, so that each comes by itself."""

    async def answer(exchange: Exchange) -> bool:
        for piece in pieces:
            await exchange.send(piece)
            await asyncio.sleep(0.1)
        return False

    return answer


# Answers


def test_events_arrive_before_the_upstream_has_ended(plain: Deployment, client: Dialogue) -> None:
    words = [threading.Event(), threading.Event(), threading.Event()]
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    plain.upstream.on(
        "/free/sse", step_by_step(b"data: 1\n\n", b"data: 2\n\n", b"data: 3\n\n", until=words, head=head)
    )
    client.ask("GET", "/free/sse", Accept="text/event-stream")
    assert client.head()["Content-Type"] == "text/event-stream"
    for number, word in enumerate(words, 1):
        assert client.chunk() == b"data: %d\n\n" % number
        word.set()
    assert client.chunk() == b"", "a clean end"


def test_a_head_arrives_before_the_body(plain: Deployment, client: Dialogue) -> None:
    word = threading.Event()
    plain.upstream.on(
        "/free/x", step_by_step(b"", until=[word], head=b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
    )
    assert client.ask("GET", "/free/x").head().status == 200
    word.set()


def test_a_large_download_is_whole_and_needs_no_memory(plain: Deployment, client: Dialogue) -> None:
    piece = bytes(range(256)) * 4096
    plain.upstream.on("/free/large", large(piece))
    before = resident(plain.gateway.pid)
    client.ask("GET", "/free/large")
    assert client.head()["Content-Length"] == str(LARGE * MEGABYTE)
    arrived = hashlib.sha256()
    for _ in range(LARGE):
        arrived.update(client.exactly(MEGABYTE))
    assert arrived.digest() == hashlib.sha256(piece * LARGE).digest()
    assert resident(plain.gateway.pid) - before < GROWTH * MEGABYTE


def large(piece: bytes) -> Behaviour:
    async def answer(exchange: Exchange) -> bool:
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(piece) * LARGE))
        for _ in range(LARGE):
            await exchange.send(piece)
        return True

    return answer


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_large_upload_is_whole_and_needs_no_memory(
    framing: str, plain: Deployment, client: Dialogue
) -> None:
    piece = bytes(range(256)) * 4096
    before = resident(plain.gateway.pid)
    if framing == "length":
        client.say(request("POST", "/free/up", {"Content-Length": str(LARGE * MEGABYTE)}))
        for _ in range(LARGE):
            client.say(piece)
    else:
        client.say(request("POST", "/free/up", {"Transfer-Encoding": "chunked"}))
        for _ in range(LARGE // 10):
            client.say(b"%x\r\n" % len(piece) + piece + b"\r\n")
        client.say(b"0\r\n\r\n")
    assert client.whole().status == 200
    count = LARGE if framing == "length" else LARGE // 10
    assert hashlib.sha256(plain.upstream.last().body).digest() == hashlib.sha256(piece * count).digest()
    assert resident(plain.gateway.pid) - before < GROWTH * MEGABYTE


def test_a_slow_reader_slows_the_upstream(plain: Deployment) -> None:
    sent = threading.Semaphore(0)

    async def counting(exchange: Exchange) -> bool:
        await exchange.send(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(256):
            await exchange.send(b"x" * MEGABYTE)
            sent.release()
        return False

    plain.upstream.on("/free/slow", counting)
    before = resident(plain.gateway.pid)
    with Dialogue(plain.url, receive_buffer=4096) as client:
        client.ask("GET", "/free/slow").head()
        count = settled_count(sent)
        assert count < 64, "the upstream is not read ahead of its reader"
        assert resident(plain.gateway.pid) - before < GROWTH * MEGABYTE


def settled_count(sent: threading.Semaphore) -> int:
    """How many pieces went out before nothing moved for a while."""
    count = 0
    while sent.acquire(timeout=0.7):
        count += 1
    return count


HALF = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"
BROKEN: dict[str, Behaviour] = {
    "dies": die_in_mid_body(),
    "resets": reset(HALF),
    "garbles": paced(HALF, b"zz\r\n"),
    "falls silent": watched(threading.Event(), HALF),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_answer_has_no_clean_end(broken: str, plain: Deployment, client: Dialogue) -> None:
    plain.upstream.on("/free/hasty/x", BROKEN[broken])
    client.ask("GET", "/free/hasty/x")
    try:
        received = client.rest()
    except ConnectionResetError:
        return
    assert received.startswith(b"HTTP/1.1 200") and b"half" in received
    assert b"Content-Length: 1000" in received or not received.endswith(b"0\r\n\r\n")


def test_silence_before_the_head_is_504(plain: Deployment, client: Dialogue) -> None:
    plain.upstream.on("/free/hasty/x", hang())
    answer = client.ask("GET", "/free/hasty/x").whole()
    assert answer.status == 504 and b"upstream_timeout" in answer.body
    assert client.ask("GET", "/free/next").whole().status == 200


def test_a_stream_may_last_longer_than_the_timeout_between_its_chunks(
    plain: Deployment, client: Dialogue
) -> None:
    async def ticking(exchange: Exchange) -> bool:
        await exchange.send(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(6):
            await asyncio.sleep(0.2)
            await exchange.send(b"tick")
        return False

    plain.upstream.on("/free/hasty/ticks", ticking)
    assert client.ask("GET", "/free/hasty/ticks").whole().body == b"tick" * 6


def test_an_endless_stream_ends_with_its_client(plain: Deployment) -> None:
    ended = threading.Event()
    forever = endless()

    async def until_unwanted(exchange: Exchange) -> bool:
        try:
            return await forever(exchange)
        finally:
            ended.set()

    plain.upstream.on("/free/endless", until_unwanted)
    with Dialogue(plain.url) as client:
        client.ask("GET", "/free/endless").head()
        client.exactly(MEGABYTE)
    assert ended.wait(5)


def test_a_half_closed_client_gets_a_slow_answer(plain: Deployment, client: Dialogue) -> None:
    word = threading.Event()
    plain.upstream.on("/free/x", step_by_step(b"late", until=[word], head=b"HTTP/1.1 200 OK\r\n\r\n"))
    client.ask("GET", "/free/x").half_close()
    assert client.head().status == 200 and client.chunk() == b"late"
    word.set()
    assert client.chunk() == b"" and client.closed()

"""The listener's connections, in one process: what only timing shows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

import pytest
from aiohttp import web

from gateway.answers import Answer
from gateway.errors import Problem
from gateway.listener import Limits, Listener

GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
Handler = Callable[[web.BaseRequest], Awaitable[Answer]]


@dataclass
class Served:
    """A listener whose answers the test lets go one by one."""

    listener: Listener
    server: asyncio.Server
    asked: asyncio.Queue[web.BaseRequest] = field(default_factory=asyncio.Queue)
    go: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(*self.server.sockets[0].getsockname())

    async def empty(self) -> None:
        """Waits until no connection is left."""
        async with asyncio.timeout(2):
            while self.listener.connections:  # noqa: ASYNC110 - aiohttp tells nobody of an end
                await asyncio.sleep(0.005)


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async def handle(request: web.BaseRequest) -> Answer:
        await served.asked.put(request)
        await served.go.acquire()
        return Answer(200, (), b"ok")

    def render(problem: Problem, request: web.BaseRequest) -> Answer:
        return Answer(problem.status, (), problem.code.encode(), close=problem.close)

    listener = Listener(handle, render, Limits(header_timeout=0.3, keepalive_timeout=0.5, max_connections=3))
    server = await asyncio.get_running_loop().create_server(listener, "127.0.0.1", 0)
    served = Served(listener, server)
    yield served
    server.close()
    await listener.shutdown(0.1)


async def test_a_client_that_leaves_while_its_answer_is_written_leaves_nothing_behind(served: Served) -> None:
    reader, writer = await served.connect()
    writer.write(GET)
    await served.asked.get()
    writer.write_eof()
    await asyncio.sleep(0.05)
    served.go.release()
    assert (await reader.read()).endswith(b"\r\n\r\nok")
    await served.empty()


async def test_a_half_closed_client_gets_all_it_asked_for(served: Served) -> None:
    reader, writer = await served.connect()
    writer.write(GET * 3)
    writer.write_eof()
    for _ in range(3):
        served.go.release()
    assert (await reader.read()).count(b"200 OK") == 3
    await served.empty()


async def test_many_more_requests_than_are_queued_at_once(served: Served) -> None:
    reader, writer = await served.connect()
    writer.write(GET * 200)
    writer.write_eof()
    for _ in range(200):
        served.go.release()
    assert (await reader.read()).count(b"200 OK") == 200
    await served.empty()


async def test_retiring_closes_who_is_idle_and_answers_who_is_not(served: Served) -> None:
    idle, _ = await served.connect()
    busy, writer = await served.connect()
    writer.write(GET)
    await served.asked.get()
    served.listener.retire()
    assert await idle.read() == b""
    served.go.release()
    answer = await busy.read()
    assert b"Connection: close" in answer and answer.endswith(b"ok")
    writer.close()
    await served.empty()


async def test_retiring_answers_what_was_already_sent(served: Served) -> None:
    reader, writer = await served.connect()
    writer.write(GET * 2)
    await served.asked.get()
    await asyncio.sleep(0.05)
    served.listener.retire()
    served.go.release()
    served.go.release()
    answers = await reader.read()
    assert answers.count(b"200 OK") == 2 and answers.count(b"Connection: close") == 1


async def test_a_header_has_a_deadline_and_an_idle_connection_another(served: Served) -> None:
    reader, writer = await served.connect()
    loop, started = asyncio.get_running_loop(), asyncio.get_running_loop().time()
    served.go.release()
    writer.write(GET)
    await reader.readuntil(b"ok")
    answered = loop.time()
    assert await reader.read() == b"" and loop.time() - answered > 0.4, "keepalive_timeout"
    reader, writer = await served.connect()
    started = loop.time()
    writer.write(GET[:9])
    assert await reader.read() == b"" and loop.time() - started < 0.5, "header_timeout"


async def test_a_header_that_trickles_has_one_deadline(served: Served) -> None:
    reader, writer = await served.connect()
    sent = 0
    while not reader.at_eof() and sent < len(GET) - 1:
        writer.write(GET[sent : sent + 1])
        sent += 1
        await asyncio.sleep(0.05)
    with suppress(ConnectionResetError):
        assert await reader.read() == b""
    assert sent < len(GET) - 1, "no byte bought it more time"
    assert served.asked.empty()


async def test_a_slow_answer_has_no_deadline_here(served: Served) -> None:
    reader, writer = await served.connect()
    writer.write(GET)
    await served.asked.get()
    await asyncio.sleep(0.6)
    served.go.release()
    assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")


async def test_connections_above_the_cap_are_turned_away(served: Served) -> None:
    held = [await served.connect() for _ in range(3)]
    reader, _ = await served.connect()
    with suppress(ConnectionResetError):
        assert await reader.read() == b""
    held[0][1].close()
    await held[0][1].wait_closed()
    await asyncio.sleep(0.02)
    reader, writer = await served.connect()
    served.go.release()
    writer.write(GET)
    assert await reader.readuntil(b"ok")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200), b"400"),
        (b"\x00" * 50, b"400"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"a" * 70_000 + b"\r\n\r\n", b"431"),
        (b"GET / HTTP/1.1\r\nHost: h\r\n" + b"X: a\r\n" * 300 + b"\r\n", b"431"),
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: h\r\n\r\n", b"431"),
        (
            b"GET / HTTP/1.1\r\nHost: h\r\n"
            + b"".join(b"X%d: %b\r\n" % (n, b"a" * 60_000) for n in range(8)),
            b"431",
        ),
    ],
    ids=["tls", "zeros", "ssh", "field", "fields", "target", "flood"],
)
async def test_what_is_no_request_gets_one_answer_and_no_traceback(
    data: bytes, status: bytes, served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    reader, writer = await served.connect()
    writer.write(data)
    answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 " + status) and answer.count(b"HTTP/1.1") == 1
    assert "Traceback" not in caplog.text and not caplog.records
    assert served.asked.empty()


async def test_a_flood_behind_a_running_request_is_bounded(served: Served) -> None:
    reader, writer = await served.connect()
    writer.write(GET)
    await served.asked.get()
    fields = b"".join(b"X%d: %b\r\n" % (number, b"a" * 60_000) for number in range(100))
    writer.write(GET[:-2] + fields)
    served.go.release()
    answers = await reader.read()
    assert answers.startswith(b"HTTP/1.1 200") and answers.count(b"HTTP/1.1 431") == 1
    writer.close()
    await served.empty()


async def test_a_large_header_is_accepted(served: Served) -> None:
    reader, writer = await served.connect()
    served.go.release()
    writer.write(b"GET / HTTP/1.1\r\nHost: h\r\nX-Payment: " + b"a" * 60_000 + b"\r\n\r\n")
    assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
    assert len((await served.asked.get()).headers["X-Payment"]) == 60_000


async def test_our_own_fault_is_logged_and_answered(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    async def broken(request: web.BaseRequest) -> Answer:
        raise ZeroDivisionError

    served.listener.request_handler = broken
    reader, writer = await served.connect()
    writer.write(GET)
    answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 500") and b"internal_error" in answer
    assert "ZeroDivisionError" in caplog.text


class Recorder:
    """Begins requests: ``/now`` is answered at once, ``/bye`` with the last answer, others are handled."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.handled: list[str] = []

    def begin(self, request: web.BaseRequest) -> Answer | web.BaseRequest:
        self.begun.append(request._message.path)
        if request._message.path == "/broken":
            raise RuntimeError("our own fault")
        if request._message.path not in ("/now", "/bye"):
            return request
        answer = Answer(402, (), request._message.path.encode(), close=request._message.path == "/bye")
        answer.about = request._message.path
        return answer

    async def handle(self, request: web.BaseRequest) -> Answer:
        self.handled.append(request._message.path)
        await asyncio.sleep(0.01)
        return Answer(200, (), b"handled")


class Again:
    """A shelf that gives what was put there, under another word."""

    def __init__(self) -> None:
        self.kept: dict[bytes, bytes] = {}

    def put(self, request: bytes, answer: bytes, about: object) -> None:
        self.kept[request] = answer.replace(b"/now", b"/old")

    def again(self, request: bytes) -> bytes | None:
        return self.kept.get(request)


@dataclass
class Quick:
    """A client of a listener that answers at once."""

    recorder: Recorder
    shelf: Again
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def ask(self, *pieces: bytes) -> bytes:
        """The body of the answer to what is sent piece by piece."""
        for piece in pieces:
            self.writer.write(piece)
            await asyncio.sleep(0.02)
        return await self.body()

    async def body(self) -> bytes:
        head = await self.reader.readuntil(b"\r\n\r\n")
        [length] = [int(line.split()[1]) for line in head.splitlines() if line.startswith(b"Content-Length")]
        return await self.reader.readexactly(length)


@pytest.fixture
async def quick() -> AsyncIterator[Quick]:
    def render(problem: Problem, request: web.BaseRequest) -> Answer:
        return Answer(problem.status, (), problem.code.encode(), close=problem.close)

    recorder, shelf, limits = Recorder(), Again(), Limits(0.3, 0.5, 3)
    listener = Listener(recorder.handle, render, limits, recorder.begin, shelf)  # type: ignore[arg-type]
    server = await asyncio.get_running_loop().create_server(listener, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    yield Quick(recorder, shelf, reader, writer)
    writer.close()
    server.close()
    await listener.shutdown(0.1)


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: h\r\n\r\n".encode()


async def test_what_needs_no_waiting_is_answered_at_once_and_then_again(quick: Quick) -> None:
    assert await quick.ask(get("/now")) == b"/now"
    assert [await quick.ask(get("/now")) for _ in range(3)] == [b"/old"] * 3
    assert (quick.recorder.begun, quick.recorder.handled) == (["/now"], [])


async def test_whoever_has_to_be_waited_for_is_begun_once(quick: Quick) -> None:
    assert await quick.ask(get("/later")) == b"handled"
    assert (quick.recorder.begun, quick.recorder.handled) == (["/later"], ["/later"])
    assert not quick.shelf.kept


async def test_requests_in_one_packet_are_answered_in_order_and_not_kept(quick: Quick) -> None:
    answers = [await quick.ask(get("/now") + get("/later") + get("/now")), await quick.body()]
    assert [*answers, await quick.body()] == [b"/now", b"handled", b"/now"]
    assert not quick.shelf.kept


async def test_a_request_in_pieces_is_not_kept_nor_is_what_follows_half_of_one(quick: Quick) -> None:
    assert await quick.ask(get("/now")[:20], get("/now")[20:]) == b"/now"
    assert not quick.shelf.kept
    assert await quick.ask(get("/now")) == b"/now"
    assert await quick.ask(b"GET /later HTTP/1.1\r\nX: ", b"y\r\nHost: h\r\n\r\n") == b"handled"
    quick.writer.write(b"POST /later HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(get("/now")))
    await asyncio.sleep(0.02)
    assert await quick.ask(get("/now")) == b"handled", "the same bytes, as a body"
    assert quick.recorder.begun[-1] == "/later"


async def test_bytes_that_belong_to_an_open_header_are_no_request(quick: Quick) -> None:
    """The end of one request and the beginning of the next may come together."""
    assert await quick.ask(get("/now")) == b"/now"
    assert await quick.ask(get("/now")) == b"/old"
    assert await quick.ask(get("/later") + b"GET /later HTTP/1.1\r\nX: ") == b"handled"
    assert await quick.ask(get("/now")) == b"handled", "it ended the header that had begun"
    assert await quick.ask(get("/now")) == b"/old"


async def test_a_request_with_the_beginning_of_the_next_is_not_kept(quick: Quick) -> None:
    assert await quick.ask(get("/now") + b"GET /later HTTP/1.1\r\nX: ") == b"/now"
    assert not quick.shelf.kept
    assert await quick.ask(b"y\r\nHost: h\r\n\r\n") == b"handled"


async def test_what_came_while_another_was_answered_waits_its_turn(quick: Quick) -> None:
    assert await quick.ask(get("/now")) == b"/now"
    quick.writer.write(get("/later"))
    await asyncio.sleep(0.003)
    assert await quick.ask(get("/now")) == b"handled"
    assert await quick.body() in (b"/now", b"/old")


async def test_a_last_answer_is_the_last(quick: Quick) -> None:
    assert await quick.ask(get("/bye")) == b"/bye"
    assert await quick.reader.read() == b"" and not quick.shelf.kept


async def test_a_fault_of_ours_before_anything_is_waited_for(
    quick: Quick, caplog: pytest.LogCaptureFixture
) -> None:
    assert await quick.ask(get("/broken")) == b"internal_error"
    assert "our own fault" in caplog.text and await quick.reader.read() == b""

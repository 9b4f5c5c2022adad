"""How a connection answers, in one process: what only timing shows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from aiohttp import web
from kit.listening import GET, Served, render

from gateway.answers import Answer
from gateway.listener import Listener
from gateway.receiving import Limits


async def test_a_client_that_leaves_while_its_answer_is_written_leaves_nothing_behind(served: Served) -> None:
    reader, writer = await served.connect()
    writer.write(GET)
    await served.asked.get()
    writer.write_eof()
    await asyncio.sleep(0.05)
    served.go.release()
    assert (await reader.read()).endswith(b"\r\n\r\nok")
    await served.empty()


async def test_many_more_requests_than_are_queued_at_once(served: Served) -> None:
    reader, writer = await served.connect()
    writer.write(GET * 200)
    writer.write_eof()
    for _ in range(200):
        served.go.release()
    assert (await reader.read()).count(b"200 OK") == 200
    await served.empty()


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

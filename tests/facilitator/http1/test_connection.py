"""One connection: requests as bytes, silence, back pressure, content that comes while it is sent, tunnels."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from kit.line import Line

from facilitator.http1.answer import READ_AHEAD, Answer
from facilitator.http1.errors import Closed, Invalid, TimedOut

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
LARGE = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"


async def test_a_request_and_its_answer() -> None:
    line = Line()
    answer = line.ask(b"POST / HTTP/1.1\r\n\r\n", b"body")
    assert line.sent == b"POST / HTTP/1.1\r\n\r\nbody" and not line.connection.usable
    line.hear(OK)
    await answer.begun()
    assert (answer.status, answer.length, answer.whole, await answer.read()) == (200, 2, True, b"ok")
    assert await answer.read() == b"" and line.free == 1 and line.connection.usable


async def test_large_content_goes_out_whole() -> None:
    line = Line()
    line.ask(b"head", b"x" * 100_000)
    assert line.sent == b"head" + b"x" * 100_000


@pytest.mark.parametrize("said", [OK, b"\r\n", b"x"], ids=repr)
async def test_a_byte_out_of_turn_ends_the_connection(said: bytes) -> None:
    line = Line()
    line.ask()
    line.hear(OK)
    line.hear(said)
    assert line.aborted and line.lost == 1 and not line.connection.usable


async def test_content_arrives_as_it_comes() -> None:
    line = Line()
    answer = line.ask()
    line.hear(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    await answer.begun()
    reading = asyncio.ensure_future(answer.read())
    await asyncio.sleep(0)
    line.hear(b"2\r\nok\r\n")
    assert await reading == b"ok" and not answer.whole
    line.hear(b"0\r\n\r\n")
    assert await answer.read() == b"" and line.free == 1


async def heard(answer: Answer) -> bytes:
    await answer.begun()
    return await answer.read()


async def test_who_waits_for_the_head_is_told_of_its_end() -> None:
    line = Line()
    waiting = asyncio.ensure_future(heard(line.ask()))
    await asyncio.sleep(0)
    line.hear_end()
    with pytest.raises(Closed):
        await waiting


async def test_leaving_an_answer_that_is_not_whole_ends_the_connection() -> None:
    line = Line()
    with line.ask() as answer:
        line.hear(LARGE + b"half")
        assert await answer.read() == b"half"
    assert line.aborted and not line.free
    with pytest.raises(Invalid):
        await answer.read()


async def test_leaving_a_whole_one_does_not() -> None:
    line = Line()
    with line.ask():
        line.hear(OK)
    assert not line.aborted and line.free == 1


async def test_an_answer_before_the_request_is_taken_is_passed_on_and_the_last() -> None:
    line = Line()
    line.unsent = 10
    answer = line.ask(b"head", b"x" * 100_000)
    line.hear(b"HTTP/1.1 413 X\r\nContent-Length: 0\r\n\r\n")
    assert answer.whole and answer.status == 413 and line.aborted and not line.free


# Back pressure


async def test_no_more_is_read_than_is_wanted() -> None:
    line = Line()
    answer = line.ask()
    line.hear(LARGE)
    line.hear(b"x" * READ_AHEAD)
    assert not line.paused
    line.hear(b"x")
    assert line.paused
    assert len(await answer.read()) == READ_AHEAD + 1
    assert not line.paused


async def test_a_connection_is_free_only_while_it_is_read() -> None:
    line = Line()
    answer = line.ask()
    line.hear(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n")
    line.hear(b"x" * 199_999)
    assert line.paused
    line.hear(b"x")
    assert not line.paused and line.free == 1 and len(answer.taken()) == 200_000


class Sink(asyncio.Transport):
    """Where an answer is poured: it takes what is written, or keeps it in its buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.room = asyncio.Event()
        self.room.set()
        self.closing = False

    def write(self, data: object) -> None:
        assert isinstance(data, bytes)
        self.written += data

    def get_write_buffer_size(self) -> int:
        return 0 if self.room.is_set() else READ_AHEAD + 1

    def is_closing(self) -> bool:
        return self.closing

    async def send(self, data: bytes) -> None:
        self.write(data)
        await self.room.wait()


async def test_an_answer_is_poured_as_it_comes() -> None:
    line, sink = Line(), Sink()
    answer = line.ask()
    line.hear(b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\none ")
    pouring = asyncio.ensure_future(answer.pour(sink, sink.send))
    await asyncio.sleep(0)
    line.hear(b"two ")
    assert sink.written == b"one two " and not pouring.done()
    line.hear(b"last")
    await pouring
    assert sink.written == b"one two last" and line.free == 1


async def test_nothing_is_poured_into_what_is_full() -> None:
    line, sink = Line(), Sink()
    answer = line.ask(patience=0.02)
    line.hear(LARGE)
    pouring = asyncio.ensure_future(answer.pour(sink, sink.send))
    await asyncio.sleep(0)
    sink.room.clear()
    line.hear(b"x" * 10)
    assert line.paused
    await asyncio.sleep(0.05)
    assert line.paused and not line.aborted and not pouring.done(), "its pause is nobody's silence"
    sink.room.set()
    await turns()
    assert not line.paused and sink.written == b"x" * 10
    with pytest.raises(TimedOut):
        await pouring


async def test_an_answer_cut_short_is_not_poured_to_its_end() -> None:
    line, sink = Line(), Sink()
    answer = line.ask()
    line.hear(LARGE + b"half")
    pouring = asyncio.ensure_future(answer.pour(sink, sink.send))
    await asyncio.sleep(0)
    line.hear_end()
    with pytest.raises(Invalid):
        await pouring
    assert sink.written == b"half"


async def test_who_stops_pouring_reads_on_or_leaves() -> None:
    line, sink = Line(), Sink()
    answer = line.ask()
    line.hear(LARGE)
    pouring = asyncio.ensure_future(answer.pour(sink, sink.send))
    await asyncio.sleep(0)
    sink.closing = True
    line.hear(b"kept")
    pouring.cancel()
    await turns()
    assert sink.written == b"" and await answer.read() == b"kept"


# Time


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\nX", LARGE + b"half"], ids=["", "head", "content"])
async def test_silence_is_not_waited_for(said: bytes) -> None:
    line = Line()
    answer = line.ask(patience=0.02)
    line.hear(said)
    with pytest.raises(TimedOut):
        await answer.begun()
        while await answer.read():
            pass
    assert line.aborted


async def test_an_answer_may_last_longer_than_its_pauses() -> None:
    line = Line()
    answer = line.ask(patience=0.05)
    line.hear(LARGE)
    for _ in range(4):
        await asyncio.sleep(0.03)
        line.hear(b"tick")
    assert not line.aborted and await answer.read() == b"tick" * 4


async def test_all_of_it_has_a_limit_too() -> None:
    line = Line()
    answer = line.ask(patience=None, until=asyncio.get_running_loop().time() + 0.05)
    line.hear(LARGE)
    with pytest.raises(TimedOut):
        while await answer.read():
            await asyncio.sleep(0.02)
            line.hear(b"tick")
    assert line.aborted


async def test_a_pause_of_the_reader_is_not_the_origins_silence() -> None:
    line = Line()
    answer = line.ask(patience=0.02)
    line.hear(LARGE)
    line.hear(b"x" * (READ_AHEAD + 1))
    await asyncio.sleep(0.07)
    assert not line.aborted
    answer.taken()
    with pytest.raises(TimedOut):
        await answer.read()


async def test_an_origin_that_takes_the_request_slowly_is_not_silent() -> None:
    line = Line()
    line.unsent = 3
    answer = line.ask(b"head", b"x" * 100_000, patience=0.03)
    for left in (2, 1):
        await asyncio.sleep(0.03)
        line.unsent = left
    assert not line.aborted
    with pytest.raises(TimedOut):
        await answer.begun()


async def test_an_idle_connection_has_no_clock() -> None:
    line = Line()
    line.ask(patience=0.02)
    line.hear(OK)
    await asyncio.sleep(0.05)
    assert not line.aborted
    line.ask(patience=5.0)
    await asyncio.sleep(0.05)
    assert not line.aborted, "nor an old one"


# Content that comes while it is sent


class Coming:
    """A request's content, piece by piece; the last may be what is raised."""

    def __init__(self, pieces: Sequence[bytes | Exception], length: int | None = None) -> None:
        self.length = length
        self._pieces = list(pieces)

    async def read(self) -> bytes:
        await asyncio.sleep(0)
        piece = self._pieces.pop(0) if self._pieces else b""
        if isinstance(piece, Exception):
            raise piece
        return piece


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("length", "sent"), [(None, b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"), (3, b"abc")], ids=["chunked", "length"]
)
async def test_content_is_framed(length: int | None, sent: bytes) -> None:
    line = Line()
    line.ask(b"", Coming([b"ab", b"c"], length))
    await turns()
    assert line.sent == sent
    line.hear(OK)
    assert line.free == 1


@pytest.mark.parametrize("pieces", [[b"ab"], [b"ab", b"cd"]], ids=["less", "more"])
async def test_content_is_what_was_announced(pieces: list[bytes]) -> None:
    line = Line()
    answer = line.ask(b"", Coming(pieces, 3))
    with pytest.raises(Invalid):
        await answer.begun()
    assert line.aborted and len(line.sent) <= 3


async def test_what_the_content_raises_ends_the_exchange() -> None:
    line = Line()
    answer = line.ask(b"", Coming([b"ab", KeyError("mine")]))
    with pytest.raises(KeyError):
        await answer.begun()
    assert line.aborted and not line.sent.endswith(b"0\r\n\r\n")


class Never(Coming):
    async def read(self) -> bytes:
        await asyncio.Event().wait()
        raise AssertionError


async def test_an_answer_before_the_content_has_come() -> None:
    """Passed on; the rest of the content is not waited for, and nothing else sent here."""
    line = Line()
    answer = line.ask(b"", Never([]), patience=0.02)
    await asyncio.sleep(0.05)
    assert not line.aborted, "it is not the origin that is silent"
    line.hear(OK)
    assert answer.whole and line.aborted and not line.free
    await turns()
    assert len(asyncio.all_tasks()) == 1


async def test_both_ways_at_once() -> None:
    line = Line()
    answer = line.ask(b"", Coming([b"ab", b"cd"]))
    line.hear(LARGE + b"early")
    assert await answer.read() == b"early"
    await turns()
    assert line.sent.endswith(b"0\r\n\r\n") and not line.aborted


async def test_an_origin_that_takes_nothing_is_not_waited_for() -> None:
    line = Line()
    answer = line.ask(b"", Coming([b"ab", b"cd"]), patience=0.02)
    line.connection.pause_writing()
    with pytest.raises(TimedOut):
        await answer.begun()
    assert line.aborted and b"cd" not in line.sent


async def test_content_waits_until_there_is_room() -> None:
    line = Line()
    line.ask(b"", Coming([b"ab", b"cd"], 4))
    line.connection.pause_writing()
    await turns()
    assert line.sent == b"ab"
    line.connection.resume_writing()
    await turns()
    assert line.sent == b"abcd"


# Tunnels

SWITCH = b"HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"


async def test_after_an_upgrade_bytes_are_bytes() -> None:
    line = Line()
    answer = line.ask(upgrade=True, patience=0.02)
    line.hear(SWITCH + b"early")
    await answer.begun()
    assert answer.status == 101 and answer.tunnel is line.connection and line.paused and not line.free
    heard: list[bytes] = []
    answer.tunnel.attach(heard.append, lambda: heard.append(b"end"))
    line.hear(b"HTTP/1.1 200 OK\r\n\r\n")
    await asyncio.sleep(0.05)
    line.hear_end()
    assert heard == [b"early", b"HTTP/1.1 200 OK\r\n\r\n", b"end"] and not line.paused


async def test_a_tunnel_nobody_wanted_is_closed() -> None:
    line = Line()
    with line.ask(upgrade=True):
        line.hear(SWITCH)
    assert line.ended


async def test_an_upgrade_without_its_fields_is_none() -> None:
    line = Line()
    answer = line.ask(upgrade=True)
    line.hear(b"HTTP/1.1 101 S\r\n\r\n")
    with pytest.raises(Invalid):
        await answer.begun()


async def test_a_tunnel_that_is_lost_tells_who_writes() -> None:
    line = Line()
    answer = line.ask(upgrade=True)
    line.hear(SWITCH)
    assert answer.tunnel is not None
    answer.tunnel.pause_writing()
    waiting = asyncio.ensure_future(answer.tunnel.drained())
    await asyncio.sleep(0)
    line.break_off()
    with pytest.raises(ConnectionResetError):
        await waiting
    with pytest.raises(ConnectionResetError):
        await answer.tunnel.drained()
    ended: list[bool] = []
    answer.tunnel.attach(lambda data: None, lambda: ended.append(True))
    assert ended == [True]

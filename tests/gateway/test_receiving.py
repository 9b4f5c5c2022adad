"""What a connection takes in: deadlines, bounds, clients that end their side."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from kit.listening import GET, Served


async def test_a_half_closed_client_gets_all_it_asked_for(served: Served) -> None:
    reader, writer = await served.connect()
    writer.write(GET * 3)
    writer.write_eof()
    for _ in range(3):
        served.go.release()
    assert (await reader.read()).count(b"200 OK") == 3
    await served.empty()


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

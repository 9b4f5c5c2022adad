"""All connections together: the cap, and retiring."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from kit.listening import GET, Served


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

"""Whole exchanges: bounded in time, size and number, asked once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from facilitator.http1.client import Client
from facilitator.http1.errors import Closed, HttpError, TimedOut, TooLarge, Unreachable, Unsendable

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@asynccontextmanager
async def saying(answer: bytes | None) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A service's URL, and the heads of what it is asked. None: it says nothing."""
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        if answer is not None:
            writer.write(answer)
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", heads
    server.close()


async def ask(url: str, within: float = 1.0, most: int = 100, **more: str) -> bytes:
    with Client() as client:
        until = asyncio.get_running_loop().time() + within
        return (await client.fetch("POST", url, b"{}", more, until=until, most=most)).content


async def test_an_answer_is_whole() -> None:
    async with saying(OK) as (url, heads):
        assert await ask(url + "/v?key=s", Accept="a") == b"ok"
        assert heads[0].startswith(b"POST /v?key=s HTTP/1.1\r\nHost: 127.0.0.1:")
        assert heads[0].endswith(b"Accept: a\r\nContent-Length: 2\r\n\r\n")


@pytest.mark.parametrize(
    ("url", "target"),
    [("", b"/"), ("/", b"/"), ("/a b/ü%20?c d", b"/a%20b/%C3%BC%2520?c%20d"), ("?k=1", b"/?k=1")],
)
async def test_a_url_is_written_as_it_must_be(url: str, target: bytes) -> None:
    async with saying(OK) as (base, heads):
        await ask(base + url)
        assert heads[0].split(b" ")[1] == target.replace(b"%25", b"%")


async def test_a_query_of_its_own() -> None:
    async with saying(OK) as (url, heads):
        with Client() as client:
            until = asyncio.get_running_loop().time() + 1
            await client.fetch("GET", url + "/s", until=until, most=9, query="u=a%26b")
        assert heads[0].startswith(b"GET /s?u=a%26b HTTP/1.1\r\n") and b"Content-Length" not in heads[0]


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (b"", Closed),
        (OK.replace(b"2\r", b"3\r"), HttpError),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 101, TooLarge),
        (None, TimedOut),
    ],
    ids=["closed", "cut", "large", "silent"],
)
async def test_no_whole_answer(answer: bytes | None, problem: type[Exception]) -> None:
    async with saying(answer) as (url, heads):
        with pytest.raises(problem):
            await ask(url, within=0.05 if answer is None else 1.0)
        assert len(heads) == 1


async def test_nobody_there() -> None:
    with pytest.raises(Unreachable):
        await ask("http://127.0.0.1:1")


async def test_what_is_no_header_is_not_sent() -> None:
    async with saying(OK) as (url, heads):
        with pytest.raises(Unsendable):
            await ask(url, Authorization="Bearer a\n")
        assert not heads


async def test_so_many_at_once() -> None:
    async with saying(None) as (url, heads):
        with Client(2) as client:
            until = asyncio.get_running_loop().time() + 0.1
            asked = [client.fetch("GET", url, until=until, most=9) for _ in range(5)]
            found = await asyncio.gather(*asked, return_exceptions=True)
        assert all(isinstance(each, TimedOut | Unreachable) for each in found) and len(heads) == 2

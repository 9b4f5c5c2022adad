"""Answers as bytes, and clients that take them slowly or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from gateway import answers
from gateway.answers import Answer, Head, send


class Client:
    """A request whose connection takes ``speed`` bytes each time its patience runs out."""

    def __init__(self, speed: int = 1 << 30, version: tuple[int, int] = (1, 1), method: str = "GET") -> None:
        self.written = b""
        self.waiting = 0
        self.aborted = False
        self._speed = speed
        self.version = version
        self.method = method
        self.headers: dict[str, str] = {}
        self.keep_alive = True
        self._payload = SimpleNamespace(is_eof=lambda: True, at_eof=lambda: True)
        self._message = SimpleNamespace(upgrade=False)
        self.transport = self.protocol = self

    def is_closing(self) -> bool:
        return False

    def writelines(self, parts: Sequence[bytes]) -> None:
        data = b"".join(parts)
        self.written += data
        self.waiting = len(data) - 1 if self._speed < 1 << 30 else 0

    @property
    def writing_paused(self) -> bool:
        return self.waiting > 0

    def get_write_buffer_size(self) -> int:
        return self.waiting

    async def _drain_helper(self) -> None:
        self.waiting = max(0, self.waiting - self._speed)
        while self.writing_paused:  # noqa: ASYNC110 - ends with the timeout around it
            await asyncio.sleep(0.01)

    def abort(self) -> None:
        self.aborted = True

    def as_request(self) -> Any:
        return self


async def written(answer: Answer, **client: Any) -> bytes:
    """The bytes without Date."""
    stranger = Client(**client)
    await answer.prepare(stranger.as_request())
    head, _, body = stranger.written.partition(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if not line.startswith(b"Date: ")]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


@pytest.mark.parametrize(
    ("answer", "client", "bytes_"),
    [
        (Answer(200, [(b"A", b"1")], b"ok"), {}, b"HTTP/1.1 200 OK\r\nA: 1\r\nContent-Length: 2\r\n\r\nok"),
        (Answer(200, [], b"ok"), {"method": "HEAD"}, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"),
        (Answer(200, [], b"", length=9), {"method": "HEAD"}, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"),
        (Answer(200), {"method": "HEAD"}, b"HTTP/1.1 200 OK\r\n\r\n"),
        (Answer(200, [], b"", length=9), {}, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        (Answer(204), {}, b"HTTP/1.1 204 No Content\r\n\r\n"),
        (Answer(304, [], b"x"), {}, b"HTTP/1.1 304 Not Modified\r\n\r\n"),
        (Answer(599, [], b""), {}, b"HTTP/1.1 599 \r\nContent-Length: 0\r\n\r\n"),
        (Answer(200, close=True), {}, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
        (
            Answer(200),
            {"version": (1, 0)},
            b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n",
        ),
    ],
)
async def test_the_bytes_of_an_answer(answer: Answer, client: dict[str, Any], bytes_: bytes) -> None:
    assert await written(answer, **client) == bytes_


def test_an_upstreams_date_is_kept() -> None:
    head = Head(200, [(b"date", b"then")], None).encode(Client().as_request(), keep_alive=True)
    assert head == b"HTTP/1.1 200 OK\r\ndate: then\r\n\r\n"


async def test_a_slow_client_is_waited_for_as_long_as_it_takes_something(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A large paid answer over a slow line lasts longer than any one deadline."""
    monkeypatch.setattr(answers, "SEND_TIMEOUT", 0.02)
    client = Client(speed=100)
    await send(client.as_request(), b"x" * 1000)
    assert client.waiting == 0 and not client.aborted


async def test_a_client_that_takes_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "SEND_TIMEOUT", 0.02)
    client = Client(speed=0)
    with pytest.raises(ConnectionResetError):
        await send(client.as_request(), b"x" * 1000)
    assert client.aborted

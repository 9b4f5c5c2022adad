"""A request's content that comes while it is sent: framed, and no faster than it is taken."""

from __future__ import annotations

import asyncio
from typing import Protocol

from facilitator.http1.errors import Invalid, TimedOut
from facilitator.http1.request import Stream


class Writer(Protocol):
    """What it needs of a connection."""

    @property
    def transport(self) -> asyncio.Transport | None:
        """None once it is lost."""

    async def drained(self) -> None:
        """Wait while no more is taken; ConnectionResetError where it never will be."""


async def upload(writer: Writer, body: Stream, patience: float | None) -> None:
    """All of it; ``patience`` (seconds) bounds how long a piece may take. HttpError, and what it raises."""
    chunked, left = body.length is None, body.length or 0
    while chunk := await body.read():
        left -= len(chunk)
        if left < 0 and not chunked:
            raise Invalid("the request's content is more than was announced")
        _transport(writer).writelines((b"%x\r\n" % len(chunk), chunk, b"\r\n") if chunked else (chunk,))
        await _taken(writer, patience)
    if left > 0 and not chunked:
        raise Invalid("the request's content ended early")
    if chunked:
        _transport(writer).write(b"0\r\n\r\n")


def _transport(writer: Writer) -> asyncio.Transport:
    if writer.transport is None:
        raise Invalid("the connection is lost")
    return writer.transport


async def _taken(writer: Writer, patience: float | None) -> None:
    try:
        async with asyncio.timeout(patience):
            await writer.drained()
    except TimeoutError as error:
        raise TimedOut("no more of the request is taken") from error
    except ConnectionError as error:
        raise Invalid("the connection is lost") from error

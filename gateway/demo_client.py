"""The client of ``tollway demo --rail conxa``: plain HTTP, and a line for everything sent and received."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import click

from gateway.payer import PaymentFailed

_SECRET = re.compile(r"(cx_.{6})[^/?]+")


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer; header names in lower case."""

    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body read."""
        return json.loads(self.body)


class Client:
    """Knows the gateway's address, and nothing of what is behind it."""

    def __init__(self, session: aiohttp.ClientSession, gateway: str) -> None:
        self._session = session
        self._gateway = gateway

    async def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        *,
        expected: int = 200,
    ) -> Reply:
        """The answer; PaymentFailed for any other status than ``expected``."""
        async with self._asked(method, path, body, headers or {}, expected) as answer:
            content = await answer.read()
            tell(f"<- {answer.status} {answer.reason}, {len(content)} bytes")
            return Reply({name.lower(): value for name, value in answer.headers.items()}, content)

    async def stream(self, path: str, body: object, headers: Mapping[str, str]) -> AsyncIterator[Any]:
        """The events of a chat's stream, as they come."""
        async with self._asked("POST", path, body, headers, 200) as answer:
            tell(f"<- {answer.status} {answer.reason}, {answer.content_type}")
            async for line in answer.content:
                data = line.strip().removeprefix(b"data: ")
                if data.startswith(b"{"):
                    yield json.loads(data)

    @asynccontextmanager
    async def _asked(
        self, method: str, path: str, body: object, headers: Mapping[str, str], expected: int
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        tell(f"-> {method} {self._gateway}{shortened(path)}" + "".join(f"  [{name}]" for name in headers))
        async with self._session.request(method, self._gateway + path, json=body, headers=headers) as answer:
            if answer.status != expected:
                raise PaymentFailed(f"{answer.status}: {(await answer.text())[:500]}")
            yield answer


def tell(line: str) -> None:
    """One line, indented."""
    click.echo(f"  {line}")


def shortened(text: str) -> str:
    """Without the secret part of a connection's id: nobody wants to read all of it."""
    return _SECRET.sub(r"\1...", text)

"""The public listener: a connection for every client, up to a cap."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, cast

from aiohttp import web

from gateway.answers import Answer
from gateway.connection import Connection
from gateway.errors import Problem
from gateway.receiving import Limits

if TYPE_CHECKING:
    from gateway.shelf import Shelf

Begin = Callable[[web.BaseRequest], Any]
Handler = Callable[[Any], Awaitable[Any]]
Render = Callable[[Problem, web.BaseRequest], Answer]


class Listener(web.Server):
    """Makes a :class:`Connection` for every client."""

    def __init__(
        self,
        handler: Handler,
        render: Render,
        limits: Limits,
        begin: Begin = lambda request: request,
        shelf: Shelf | None = None,
    ) -> None:
        """``begin`` gives a request's answer at once, or what ``handler`` makes one of."""
        super().__init__(handler, handler_cancellation=False)
        self.begin = begin
        self.shelf = shelf
        self.render = render
        self.limits = limits

    def retire(self) -> None:
        """Let every connection end after what it is working on."""
        for connection in self.connections:
            cast(Connection, connection).retire()

    def __call__(self) -> Connection:
        return Connection(self, self._loop)

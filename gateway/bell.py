"""A wait that ends when there is work, or after a while."""

from __future__ import annotations

import asyncio


class Bell:
    """Wakes who serves a queue: rung where something joined it."""

    __slots__ = ("_listener", "_rung")

    def __init__(self) -> None:
        self._rung = False
        self._listener: asyncio.Future[None] | None = None

    def ring(self) -> None:
        """Now, or whenever it is listened for next."""
        self._rung = True
        self._wake()

    async def heard(self, seconds: float) -> None:
        """Wait until it was rung since it was last listened for, for ``seconds`` at the most."""
        if not self._rung:
            loop = asyncio.get_running_loop()
            self._listener = loop.create_future()
            timer = loop.call_later(seconds, self._wake)
            try:
                await self._listener
            finally:
                timer.cancel()
        self._rung = False

    def _wake(self) -> None:
        if self._listener is not None and not self._listener.done():
            self._listener.set_result(None)

"""A CONXA service for tests, which people with wallets can scan codes of.

    with ConxaServer() as conxa:
        wallet = conxa.wallet(5_000)
        token = conxa.scan(qr_data, wallet)
        conxa.fault("charge", "hang_after", count=2)
        ...
        assert conxa.balance(wallet) == 4_900

It runs in a thread of its own: usable from tests of either kind.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from types import TracebackType
from typing import Any, Self

from gateway.devconxa.faults import Endpoint, Kind, Rule
from gateway.devconxa.ledger import Charge, Ledger
from gateway.devconxa.options import Options
from gateway.devconxa.sessions import Action
from gateway.devconxa.standin import listening, new_service

API_KEY = "pk_test_acme_x"
_PATIENCE = 5.0


class ConxaServer:
    """``api_key`` is the provider's; ``others`` are keys of further providers. ``clock`` ends sessions."""

    def __init__(
        self,
        options: Options | None = None,
        *,
        api_key: str = API_KEY,
        others: tuple[str, ...] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.api_key = api_key
        self.url = ""
        self._service = new_service(api_key, *others, options=options, clock=clock)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="conxa", daemon=True)
        self._running = AsyncExitStack()

    @property
    def options(self) -> Options:
        """What is switched; assign to its fields to switch."""
        return self._service.ledger.options

    def wallet(self, tokens: int) -> str:
        """A new wallet's id."""
        with self.ledger() as ledger:
            return ledger.wallets.open(tokens)

    def top_up(self, wallet: str, tokens: int) -> None:
        """Puts tokens into a wallet, or takes them out where negative."""
        with self.ledger() as ledger:
            ledger.wallets.top_up(wallet, tokens)

    def balance(self, wallet: str) -> int:
        """What is left in a wallet."""
        with self.ledger() as ledger:
            return ledger.wallets.balance(wallet)

    def scan(self, qr_data: str, wallet: str, seconds: float | None = None) -> str:
        """The wallet's owner scans the code and agrees; the session's token."""
        with self.ledger() as ledger:
            return ledger.scan(qr_data, wallet, seconds).token

    def act(self, username: str, action: Action) -> None:
        """Lets something befall a user's session: expire, revoke, restore, pend."""
        with self.ledger() as ledger:
            ledger.act(username, action)

    def fault(self, on: Endpoint, kind: Kind, **more: Any) -> None:
        """Something goes wrong, once unless told otherwise; ``more`` is as in ``Rule``."""
        with self._service.lock:
            self._service.faults.add(Rule(on=on, kind=kind, **more))

    def clear_faults(self) -> None:
        """From now on nothing goes wrong."""
        with self._service.lock:
            self._service.faults.clear()

    def charges(self) -> list[Charge]:
        """Every debit, in order."""
        with self.ledger() as ledger:
            return list(ledger.charges)

    def calls(self) -> dict[str, Any]:
        """Every call by endpoint and answer, and what was sent under each key."""
        with self._service.lock:
            return self._service.calls.told()

    @contextmanager
    def ledger(self) -> Iterator[Ledger]:
        """The book itself; the service waits meanwhile."""
        with self._service.lock:
            yield self._service.ledger

    def start(self) -> Self:
        """Listens on a free port."""
        self._thread.start()
        opening = self._running.enter_async_context(listening(self._service))
        self.url = asyncio.run_coroutine_threadsafe(opening, self._loop).result(_PATIENCE)
        return self

    def stop(self) -> None:
        """Stops listening and drops every connection."""
        asyncio.run_coroutine_threadsafe(self._running.aclose(), self._loop).result(_PATIENCE)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_PATIENCE)
        self._loop.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

"""Whether a wallet is connected, asked of CONXA once however many want to know.

One poller a connection in this process; what CONXA says about asking too often holds for all of them.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from dataclasses import dataclass

from gateway.conxa.connections import Connection
from gateway.conxa.wire import Conxa, ConxaUnavailable, RateLimited, Session, Status

POLL = 2.0
"""Seconds between questions about one connection."""
_FRESH = 1.0
"""Seconds for which "pending" is not asked again."""
_ACTIVE = 300.0
"""Most seconds for which "active" is not asked again."""
_MOST = 10_000
"""Connections that are kept in mind."""
_BACKOFF = (1.0, 30.0)
"""Seconds to leave CONXA alone where it does not say for how long: at first, and at most."""


@dataclass(slots=True)
class _Known:
    session: Session
    good_until: float
    limited: float = 0.0
    """Seconds for which CONXA would not be asked about it."""
    asked_at: float = 0.0
    """When it was last told."""
    asking: asyncio.Task[Session] | None = None


class Sessions:
    """The sessions of connections, as far as this process has asked."""

    def __init__(self, conxa: Conxa, rate_limit_timeout: float) -> None:
        """A connection that waits ``rate_limit_timeout`` seconds because of rate limits is given up."""
        self._conxa = conxa
        self._rate_limit_timeout = rate_limit_timeout
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._asked_too_often_until = 0.0
        self._backoff = _BACKOFF[0]

    async def now(self, connection: Connection) -> Session:
        """Where the session stands; ConxaUnavailable when that cannot be told."""
        known = self._mind(connection)
        if time.monotonic() < known.good_until:
            return known.session
        if known.asking is None:
            known.asking = asyncio.create_task(self._ask(connection, known))
            known.asking.add_done_callback(lambda _: _asked(known))
        return await asyncio.shield(known.asking)

    async def wait(self, connection: Connection, seconds: float) -> Session:
        """As ``now``, but while nobody has scanned the code, only after ``seconds``."""
        until = time.monotonic() + seconds
        while True:
            pause = POLL
            try:
                session = await self.now(connection)
            except ConxaUnavailable as error:
                session = Session(Status.PENDING)
                pause = max(pause, error.retry_after or 0.0)
                if time.monotonic() + pause > until:
                    raise
            left = min(until - time.monotonic(), connection.expires_at - time.time())
            if session.status is not Status.PENDING or left <= 0:
                return session
            await asyncio.sleep(min(pause, left))

    def doubt(self, connection: Connection) -> None:
        """What is known as active may have ended: it is asked about again, once a second at most."""
        known = self._known.get(connection.hash)
        if known is not None and known.session.status is Status.ACTIVE:
            known.good_until = min(known.good_until, known.asked_at + _FRESH)

    def _mind(self, connection: Connection) -> _Known:
        known = self._known.get(connection.hash)
        if known is None:
            known = self._known[connection.hash] = _Known(Session(Status.PENDING), 0.0)
            if len(self._known) > _MOST:
                self._known.popitem(last=False)
        self._known.move_to_end(connection.hash)
        return known

    async def _ask(self, connection: Connection, known: _Known) -> Session:
        left = self._asked_too_often_until - time.monotonic()
        if left > 0:
            raise RateLimited("conxa is asked too often", left)
        try:
            session = await self._conxa.session(connection.username)
        except RateLimited as error:
            self._leave_alone(known, error.retry_after)
            if known.session.status is Status.EXPIRED:
                return known.session
            raise
        self._backoff = _BACKOFF[0]
        known.session, known.asked_at = session, time.monotonic()
        known.good_until = known.asked_at + _good_for(session)
        return session

    def _leave_alone(self, known: _Known, seconds: float | None) -> None:
        if seconds is None:
            seconds, self._backoff = self._backoff, min(self._backoff * 2, _BACKOFF[1])
        self._asked_too_often_until = time.monotonic() + seconds
        known.limited += seconds
        if known.limited >= self._rate_limit_timeout and known.session.status is Status.PENDING:
            known.session, known.good_until = Session(Status.EXPIRED), float("inf")


def _asked(known: _Known) -> None:
    """The answer may have had nobody left to wait for it."""
    if known.asking is not None and not known.asking.cancelled():
        known.asking.exception()
    known.asking = None


def _good_for(session: Session) -> float:
    if session.status is not Status.ACTIVE:
        return _FRESH
    left = _ACTIVE if session.expires_at is None else session.expires_at - time.time()
    return min(_ACTIVE, left)

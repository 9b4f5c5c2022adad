"""One poller a connection, and no more questions than CONXA wants."""

from __future__ import annotations

import asyncio
import time

import pytest

from gateway.conxa import sessions
from gateway.conxa.connections import Connection, Mint
from gateway.conxa.sessions import Sessions
from gateway.conxa.wire import ConxaUnavailable, RateLimited, Session, Status

ACTIVE = Session(Status.ACTIVE, "ps_1", time.time() + 3600)
PENDING = Session(Status.PENDING)


class Scripted:
    """CONXA, which answers in turn; the last answer stays."""

    def __init__(self, *answers: Session | Exception) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def session(self, username: str) -> Session:
        self.asked += 1
        await asyncio.sleep(0.01)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "POLL", 0.05)
    monkeypatch.setattr(sessions, "_FRESH", 0.02)


def connection(lifetime: int = 900) -> Connection:
    return Mint("k").make(int(time.time()), lifetime=lifetime, size=300, limit=None)


def asking(*answers: Session | Exception, timeout: float = 10.0) -> tuple[Scripted, Sessions]:
    conxa = Scripted(*answers)
    return conxa, Sessions(conxa, timeout)  # type: ignore[arg-type]


async def test_however_many_want_to_know_it_is_asked_once() -> None:
    conxa, known = asking(ACTIVE)
    mine = connection()
    assert {each.token for each in await asyncio.gather(*(known.now(mine) for _ in range(50)))} == {"ps_1"}
    assert (await known.now(mine)).token == "ps_1" and conxa.asked == 1
    await known.now(connection())
    assert conxa.asked == 2


async def test_waiting_ends_when_the_code_is_scanned() -> None:
    conxa, known = asking(PENDING, PENDING, ACTIVE)
    mine = connection()
    waiting = await asyncio.gather(*(known.wait(mine, 5.0) for _ in range(20)))
    assert {each.status for each in waiting} == {Status.ACTIVE} and conxa.asked <= 6


async def test_waiting_ends_when_its_time_is_over() -> None:
    _, known = asking(PENDING)
    assert (await known.wait(connection(), 0.2)).status is Status.PENDING
    assert (await known.wait(connection(lifetime=0), 5.0)).status is Status.PENDING, "the code has ended"


async def test_an_active_session_is_asked_about_again_after_it_was_refused() -> None:
    conxa, known = asking(ACTIVE, Session(Status.EXPIRED))
    mine = connection()
    await known.now(mine)
    known.doubt(mine)
    assert (await known.now(mine)).status is Status.ACTIVE, "it was looked at a moment ago"
    await asyncio.sleep(0.03)
    assert (await known.now(mine)).status is Status.EXPIRED and conxa.asked == 2


async def test_a_rate_limit_holds_for_every_connection() -> None:
    conxa, known = asking(RateLimited("too often", 0.2), ACTIVE)
    with pytest.raises(ConxaUnavailable) as limited:
        await known.now(connection())
    assert limited.value.retry_after == 0.2
    with pytest.raises(RateLimited):
        await known.now(connection())
    assert conxa.asked == 1
    await asyncio.sleep(0.25)
    assert (await known.now(connection())).status is Status.ACTIVE


async def test_a_connection_that_cannot_be_asked_about_is_given_up() -> None:
    _, known = asking(RateLimited("too often", 0.05), timeout=0.12)
    assert (await known.wait(connection(), 5.0)).status is Status.EXPIRED


async def test_nobody_waits_for_the_answer_any_more() -> None:
    """Who asked hangs up; whoever asks next gets the answer that was on its way."""
    conxa, known = asking(ConxaUnavailable("down"), ACTIVE)
    mine = connection()
    first = asyncio.create_task(known.now(mine))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0.05)
    assert (await known.now(mine)).status is Status.ACTIVE and conxa.asked == 2

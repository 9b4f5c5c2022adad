"""What is asked of one endpoint in the same turn of the loop leaves in one request.

Under load that is what many payments ask at once, and an HTTP exchange costs more than
the calls in it. Nobody waits for others: with nothing else to ask, a request leaves alone.
And nobody depends on others: what an endpoint does not answer together is asked apart.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

Call = tuple[str, Sequence[Any]]
"""Method and parameters."""

Answers = list[Any]
Post = Callable[[Sequence[Call]], Awaitable[Answers]]
"""One request: an answer for each call, in order."""

MOST_SHARED = 32
"""Calls of several in one request: a node works on them one after the other."""

_SAME = "eth_getBlockByNumber"
"""Asked once for all. It is the one question whose answer may be older than the others' beside it."""


@dataclass(slots=True)
class _Round:
    calls: list[Call] = field(default_factory=list)
    asked: list[Sequence[Call]] = field(default_factory=list)
    places: list[list[int]] = field(default_factory=list)
    """For each of ``asked``, where in ``calls`` its own are."""
    task: asyncio.Task[list[Answers | Exception]] | None = None

    def add(self, calls: Sequence[Call]) -> int:
        self.asked.append(calls)
        self.places.append([self._place(call) for call in calls])
        return len(self.asked) - 1

    def _place(self, call: Call) -> int:
        if call[0] == _SAME and call in self.calls:
            return self.calls.index(call)
        self.calls.append(call)
        return len(self.calls) - 1


class Rounds:
    """The requests to one endpoint."""

    def __init__(self, post: Post, failed: type[Exception], apart: type[Exception]) -> None:
        """``post`` raises ``failed``; ``apart`` is the kind of it that may be due to one of several calls,
        or to their number."""
        self._post = post
        self._failed = failed
        self._apart = apart
        self._next: _Round | None = None
        self._most = MOST_SHARED

    async def ask(self, calls: Sequence[Call]) -> Answers:
        """An answer for each call, in order; what ``post`` raises."""
        following = self._next
        if following is None or len(following.calls) + len(calls) > self._most:
            following = self._next = _Round()
            # It begins in the loop's next turn: until then others may join.
            following.task = asyncio.create_task(self._send(following))
        place = following.add(calls)
        assert following.task is not None
        outcome = (await asyncio.shield(following.task))[place]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def _send(self, sent: _Round) -> list[Answers | Exception]:
        if self._next is sent:
            self._next = None
        try:
            answers = await self._post(sent.calls)
        except self._failed as error:
            if isinstance(error, self._apart) and len(sent.asked) > 1:
                return await self._one_by_one(sent)
            return [error] * len(sent.asked)
        return [[answers[place] for place in places] for places in sent.places]

    async def _one_by_one(self, sent: _Round) -> list[Answers | Exception]:
        outcomes = await asyncio.gather(*map(self._alone, sent.asked))
        if any(isinstance(outcome, list) for outcome in outcomes):
            # Perhaps there were too many for it.
            self._most = min(self._most, len(sent.calls) // 2)
        return outcomes

    async def _alone(self, calls: Sequence[Call]) -> Answers | Exception:
        try:
            return await self._post(calls)
        except self._failed as error:
            return error

"""An asyncio event loop with a clock of its own: no sockets, no sleeping, one seed, one order of events.

Callbacks belong to a :class:`Domain` (a process, or the world around them). Within a domain they run
in the order asyncio promises; which domain runs next is drawn from the seed. A domain can be killed
(nothing of it ever runs again) or frozen (it goes on later, as after SIGSTOP and SIGCONT).
"""

from __future__ import annotations

import asyncio
import heapq
import types
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextlib import suppress
from contextvars import Context, ContextVar, copy_context
from random import Random
from typing import Any

EPOCH = 1_800_000_000.0
"""Unix seconds at which every history begins."""


class Domain:
    """Callbacks that live and die together."""

    __slots__ = ("dead", "frozen", "name", "ready")

    def __init__(self, name: str) -> None:
        self.name = name
        self.ready: deque[Handle] = deque()
        self.dead = False
        self.frozen = False


_here: ContextVar[Domain] = ContextVar("domain")


@types.coroutine
def turn() -> Generator[None, None, None]:
    """Let others run: ``asyncio.sleep(0)``, only cheaper."""
    yield


def here() -> Domain | None:
    """The domain whose callback is running."""
    return _here.get(None)


class Handle:
    """One scheduled callback."""

    __slots__ = ("args", "callback", "context", "domain", "gone")

    def __init__(self, callback: Callable[..., object], args: Any, context: Context, domain: Domain) -> None:
        self.callback = callback
        self.args = args
        self.context = context
        self.domain = domain
        self.gone = False

    def cancel(self) -> None:
        """Never run it."""
        self.gone = True

    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return self.gone


class VirtualLoop(asyncio.AbstractEventLoop):
    """Runs one history."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._now = 0.0
        self._timers: list[tuple[float, int, Handle]] = []
        self._count = 0
        self._runnable: list[Domain] = []
        self._tasks: list[asyncio.Task[Any]] = []
        """All of them: what a dead domain leaves behind is not collected while the history runs."""
        self.world = Domain("world")
        self.complaints: list[str] = []
        """What would have been an unhandled exception in a real process."""

    # The clock

    def time(self) -> float:
        """Seconds since the history began."""
        return self._now

    def unix(self) -> float:
        """The virtual wall clock."""
        return EPOCH + self._now

    # Scheduling

    def call_soon(self, callback: Any, *args: Any, context: Context | None = None) -> Any:
        """Run it next in its domain."""
        if context is None:
            context = copy_context()
        domain = context.get(_here, self.world)
        handle = Handle(callback, args, context, domain)
        if not domain.dead:
            if not domain.ready and not domain.frozen:
                self._runnable.append(domain)
            domain.ready.append(handle)
        return handle

    def call_soon_threadsafe(self, callback: Any, *args: Any, context: Context | None = None) -> Any:
        """There are no threads."""
        return self.call_soon(callback, *args, context=context)

    def call_later(self, delay: float, callback: Any, *args: Any, context: Context | None = None) -> Any:
        """Run it ``delay`` seconds from now."""
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(self, when: float, callback: Any, *args: Any, context: Context | None = None) -> Any:
        """Run it at loop time ``when``."""
        if context is None:
            context = copy_context()
        handle = Handle(callback, args, context, context.get(_here, self.world))
        self._count += 1
        heapq.heappush(self._timers, (when, self._count, handle))
        return handle

    def create_future(self) -> asyncio.Future[Any]:
        """A future of this loop."""
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, *, name: Any = None, context: Any = None) -> Any:
        """A task of this loop, in the caller's domain."""
        task = asyncio.Task(coro, loop=self, name=name, context=context)
        self._tasks.append(task)
        return task

    def spawn(self, domain: Domain, coro: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """A task in ``domain``."""
        context = copy_context()
        context.run(_here.set, domain)
        return self.create_task(coro, context=context)

    def within(self, domain: Domain, function: Callable[..., Any], *args: Any) -> None:
        """Call ``function`` soon, in ``domain``."""
        context = copy_context()
        context.run(_here.set, domain)
        self.call_soon(function, *args, context=context)

    def _push(self, handle: Handle) -> None:
        domain = handle.domain
        if not domain.dead:
            if not domain.ready and not domain.frozen:
                self._runnable.append(domain)
            domain.ready.append(handle)

    # Faults

    def kill(self, domain: Domain) -> None:
        """kill -9: nothing of the domain runs any more, no ``finally`` either."""
        domain.dead = True
        domain.ready.clear()
        if domain in self._runnable:
            self._runnable.remove(domain)

    def freeze(self, domain: Domain) -> None:
        """SIGSTOP."""
        if not domain.frozen:
            domain.frozen = True
            if domain in self._runnable:
                self._runnable.remove(domain)

    def thaw(self, domain: Domain) -> None:
        """SIGCONT: what became due meanwhile runs now."""
        if domain.frozen:
            domain.frozen = False
            if domain.ready and not domain.dead:
                self._runnable.append(domain)

    def end(self) -> None:
        """Take down what still waits, each task from the outside in, whatever it has to say.

        The garbage collector would begin anywhere: a coroutine whose inner half is being closed can then be
        closed again by what that lets go of, and CPython 3.11 crashes (``gen_close`` of a running one).
        """
        for task in self._tasks:
            with suppress(BaseException):
                task.get_coro().close()  # type: ignore[union-attr]
        self._tasks.clear()

    # Running

    def run(self, coro: Coroutine[Any, Any, Any], until: float) -> Any:
        """Run ``coro`` in the world's domain until it is done; TimeoutError at loop time ``until``."""
        before = asyncio._get_running_loop()
        asyncio._set_running_loop(self)
        try:
            task = self.spawn(self.world, coro)
            self._run(task, until)
            return task.result()
        finally:
            asyncio._set_running_loop(before)

    def _run(self, task: asyncio.Task[Any], until: float) -> None:
        runnable, rng = self._runnable, self._rng
        while not task.done():
            if not runnable:
                self._advance(until)
                continue
            index = int(rng.random() * len(runnable)) if len(runnable) > 1 else 0
            domain = runnable[index]
            handle = domain.ready.popleft()
            if not domain.ready:
                del runnable[index]
            if not handle.gone:
                handle.context.run(handle.callback, *handle.args)

    def _advance(self, until: float) -> None:
        timers = self._timers
        while timers and (timers[0][2].gone or timers[0][2].domain.dead):
            heapq.heappop(timers)
        if not timers or timers[0][0] > until:
            raise TimeoutError("the history does not end")
        self._now = max(self._now, timers[0][0])
        while timers and timers[0][0] <= self._now:
            handle = heapq.heappop(timers)[2]
            if not handle.gone:
                self._push(handle)

    # What asyncio asks of a loop besides

    def get_debug(self) -> bool:
        """Never."""
        return False

    def is_running(self) -> bool:
        """Always, for those who ask."""
        return True

    def is_closed(self) -> bool:
        """Never."""
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Keep what nobody looked at; tasks that are thrown away with their domain are no complaint."""
        error = context.get("exception")
        if error is not None:
            self.complaints.append(f"{context.get('message')}: {error!r}")

    def _timer_handle_cancelled(self, handle: Any) -> None:
        """Nothing to keep count of."""

"""The sold API: it counts what it does, and does not always do it well."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Self

from facilitator.http1.errors import Invalid, TimedOut
from gateway.errors import UpstreamError
from gateway.forward import Forwarder
from simulation.faults import Faults, Gateway, Killed, gone

MARK = b"answer "


@dataclass(slots=True)
class Execution:
    """One request the upstream worked on."""

    number: int
    payment: str
    path: str
    process: Any
    fence: int
    started: float
    status: int = 0
    broken: bool = False
    """The answer did not end as announced."""
    ended: float | None = None
    body: bytes = b""

    @property
    def good(self) -> bool:
        """A whole answer that is sold."""
        return self.status == 200 and not self.broken


@dataclass
class Upstream:
    """What the upstream did, and how it behaves in this history."""

    rng: Random
    faulty: float = 0.0
    """Chance that an answer is none."""
    slow: float = 0.0
    """Chance that it takes long."""
    large: float = 0.0
    """Chance that an answer is larger than the store keeps."""
    executions: list[Execution] = field(default_factory=list)
    served: dict[bytes, Execution] = field(default_factory=dict)
    """By content."""

    def begin(self, payment: str, path: str, process: Any, fence: int, now: float) -> Execution:
        """One more."""
        made = Execution(len(self.executions), payment, path, process, fence, now)
        self.executions.append(made)
        return made

    def finish(self, execution: Execution) -> None:
        """Decide what it says."""
        draw = self.rng.random()
        execution.status = 500 if draw < self.faulty / 2 else 200
        execution.broken = self.faulty / 2 <= draw < self.faulty
        size = 4096 if self.rng.random() < self.large else 0
        execution.body = MARK + f"{execution.number} of {execution.path}".encode() + b"." * size
        self.served[execution.body] = execution


class Response:
    """What the forwarder needs of a ``facilitator.http1.answer.Answer``."""

    def __init__(
        self, execution: Execution, process: Gateway, pieces: int, pause: float, until: float | None
    ) -> None:
        body = execution.body
        self.status = execution.status
        self.fields = [(b"Content-Type", b"text/plain"), (b"Content-Length", b"%d" % len(body))]
        self.length = len(body)
        step = -(-len(body) // pieces)
        self._chunks = [body[at : at + step] for at in range(0, len(body), step)]
        self._execution = execution
        self._process = process
        self._pause = pause
        self._until = until

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *args: object) -> None:
        if not self._process.dead:
            self._execution.ended = asyncio.get_running_loop().time()

    async def read(self) -> bytes:
        """The next piece."""
        try:
            async with asyncio.timeout_at(self._until):
                await asyncio.sleep(self._pause)
        except TimeoutError:
            raise TimedOut("not whole in time") from None
        if self._execution.broken and len(self._chunks) <= 1:
            raise Invalid("cut short")
        return self._chunks.pop(0) if self._chunks else b""


class SimulatedForwarder(Forwarder):
    """The real forwarder over a simulated connection to the upstream."""

    def __init__(
        self, upstreams: Mapping[str, Any], upstream: Upstream, faults: Faults, process: Gateway, watch: Any
    ) -> None:
        """``watch(payment_id, path)`` judges every execution as it begins; it gives the fence."""
        super().__init__(upstreams, "tollway-sim", 10**6)
        self._upstream = upstream
        self._faults = faults
        self._process = process
        self._watch = watch

    async def exchange(
        self,
        incoming: Any,
        upstream: str,
        body: Any,
        extra: Sequence[Any],
        idle: float | None,
        until: float | None = None,
        *,
        upgrade: bool = False,
    ) -> Any:
        """One request; its answer has begun."""
        try:
            async with asyncio.timeout_at(until):
                return await self._answer(incoming.target.path, extra, idle, until)
        except TimeoutError:
            raise _late() from None

    async def _answer(self, path: str, extra: Sequence[Any], idle: float | None, until: float | None) -> Any:
        process, rng = self._process, self._faults.rng
        if process.dead:
            raise Killed
        payment = dict(extra)[b"X-Tollway-Payment-Id"].decode()
        fence = self._watch(payment, path)
        fault = self._faults.draw("upstream")
        if fault is not None:
            self._faults.injected[f"upstream:{fault}"] += 1
            self._faults.say(process.name, f"FAULT {fault} at upstream {path}")
            if fault == "fail":
                raise UpstreamError("upstream_unreachable", "the upstream cannot be reached")
            await self._strike(fault, "")
        now = asyncio.get_running_loop().time()
        execution = self._upstream.begin(payment, path, process, fence, now)
        self._faults.say("upstream", f"works for {payment[:10]} ({path}), asked by {process.name}")
        begun = False
        try:
            if fault == "late":
                raise UpstreamError("upstream_invalid", "the upstream closed without an answer")
            await self._work(idle)
            self._upstream.finish(execution)
            await self._strike(fault, "_after")
            pause = 0 if rng.random() < 0.7 else rng.random()
            begun = True
            return Response(execution, process, rng.randint(1, 3), pause, until)
        finally:
            if not begun and not process.dead:
                execution.ended = asyncio.get_running_loop().time()

    async def _work(self, idle: float | None) -> None:
        seconds = self._duration()
        if idle is not None and seconds > idle:
            await asyncio.sleep(idle)
            raise _late()
        await asyncio.sleep(seconds)

    def _duration(self) -> float:
        draw = self._faults.rng.random()
        if draw < self._upstream.slow:
            return 60 * draw / self._upstream.slow
        return draw**4

    async def _strike(self, fault: str | None, when: str) -> None:
        if fault == "kill" + when:
            self._process.kill()
            await gone()
        if fault == "freeze" + when:
            self._process.freeze(0.5 + 30 * self._faults.rng.random() ** 2)
            await asyncio.sleep(0)


def _late() -> UpstreamError:
    return UpstreamError("upstream_timeout", "the upstream did not answer in time", status=504)

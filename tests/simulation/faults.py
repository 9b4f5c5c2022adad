"""What goes wrong: drawn at every await on a wire, from the history's seed."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any, Protocol

from simulation.loop import Domain, VirtualLoop, turn

KINDS = {
    "kill": 5,
    "kill_after": 6,
    "freeze": 3,
    "freeze_after": 3,
    "fail": 6,
    "lost_answer": 7,
    "late": 4,
    "slow": 4,
}
"""Faults at one call, with weights: the process is killed or stopped before or after the call had its
effect; the call fails without effect, or with one that nobody learns of, or with one that comes
later than its failure; it is slow."""


@dataclass(frozen=True)
class Plan:
    """How much goes wrong in a history."""

    rate: float = 0.0
    """Chance of a fault at each call."""
    only: int | None = None
    """The number of the one call that has a fault."""
    first: str | None = None
    """Its kind; None: drawn."""
    outages: tuple[tuple[str, float, float], ...] = ()
    """(wire, from, until): nothing gets through."""


class Gateway(Protocol):
    """What can be killed."""

    name: str
    domain: Domain
    dead: bool

    def kill(self) -> None: ...
    def freeze(self, seconds: float) -> None: ...


@dataclass
class Faults:
    """The faults of one history."""

    rng: Random
    loop: VirtualLoop
    plan: Plan
    calls: int = 0
    injected: Counter[str] = field(default_factory=Counter)
    late: set[str] = field(default_factory=set)
    """The calls that had their effect after they had failed."""
    calm: bool = False
    """Nothing goes wrong any more: the end of a history."""
    say: Callable[..., None] = lambda *_: None

    def draw(self, wire: str) -> str | None:
        """The fault of the next call, if it has one."""
        self.calls += 1
        if self.calm:
            return None
        plan = self.plan
        if plan.outages and self.down(wire):
            return "fail" if self.rng.random() < 0.7 else self.rng.choice(("lost_answer", "late"))
        if plan.only is not None:
            if self.calls != plan.only:
                return None
            return plan.first or self._kind()
        return self._kind() if plan.rate and self.rng.random() < plan.rate else None

    def down(self, wire: str) -> bool:
        """Whether an outage of the wire is on."""
        now = self.loop.time()
        return not self.calm and any(
            each == wire and start <= now < end for each, start, end in self.plan.outages
        )

    def _kind(self) -> str:
        return self.rng.choices(list(KINDS), list(KINDS.values()))[0]


class Killed(BaseException):
    """Ends what the garbage collector still wakes of a dead process."""


async def gone() -> Any:
    """What a process waits for that is dead from this moment on."""
    await asyncio.get_running_loop().create_future()


class Wire:
    """Calls of one process to one thing outside; every call is an await with its fate."""

    def __init__(
        self,
        faults: Faults,
        process: Gateway,
        name: str,
        *,
        patience: float,
        failure: Callable[[], Exception],
        outside: Domain,
        in_order: bool = False,
    ) -> None:
        """``patience``: seconds until the caller gives up; ``failure``: what it raises then;
        ``in_order``: one connection, what is asked first is done first."""
        self._faults = faults
        self._process = process
        self._name = name
        self._patience = patience
        self._failure = failure
        self._outside = outside
        self._in_order = in_order
        self._free_at = 0.0

    async def call(self, what: str, effect: Callable[[], Any]) -> Any:
        """Have ``effect`` done outside, in one step; its result."""
        if self._process.dead:
            raise Killed
        faults = self._faults
        fault = faults.draw(self._name)
        if fault is None:
            await self._delay()
            result = effect()
            await turn()
            return result
        faults.injected[f"{self._name}:{fault}"] += 1
        faults.say(self._process.name, f"FAULT {fault} at {self._name}.{what}")
        if what == "arrive" and fault == "late":
            fault = "fail"
        if fault == "late":
            faults.late.add(what)
        return await self._faulty(fault, effect)

    async def _delay(self) -> None:
        draw = self._faults.rng.random()
        await self._wait(0 if draw < 0.6 else (draw - 0.6) ** 3)

    async def _wait(self, seconds: float) -> None:
        if self._in_order:
            now = self._faults.loop.time()
            self._free_at = max(self._free_at, now + seconds)
            seconds = self._free_at - now
        if seconds:
            await asyncio.sleep(seconds)
        else:
            await turn()

    async def _faulty(self, fault: str, effect: Callable[[], Any]) -> Any:
        rng, process = self._faults.rng, self._process
        if fault in ("kill", "freeze"):
            await self._strike(fault)
        if fault == "slow":
            await self._wait(rng.random() * self._patience * 0.95)
            return effect()
        if fault == "fail":
            await asyncio.sleep(rng.random() * self._patience)
            raise self._failure()
        if fault == "late":
            self._faults.loop.within(self._outside, self._later, effect, rng.random() * 3)
            await asyncio.sleep(self._patience)
            raise self._failure()
        await self._delay()
        result = effect()
        if fault in ("kill_after", "freeze_after"):
            await self._strike(fault.removesuffix("_after"))
        if fault == "lost_answer":
            await asyncio.sleep(rng.random() * self._patience)
            raise self._failure()
        assert not process.dead
        return result

    def _later(self, effect: Callable[[], Any], extra: float) -> None:
        self._faults.loop.call_later(self._patience + extra, effect)

    async def _strike(self, fault: str) -> None:
        if fault == "kill":
            self._process.kill()
            await gone()
        self._process.freeze(0.5 + 30 * self._faults.rng.random() ** 2)
        await asyncio.sleep(0)


class StoreLink:
    """A process's connection to the store: the protocol's methods, each over the wire."""

    def __init__(self, store: Any, wire: Wire) -> None:
        self._store = store
        self._wire = wire

    async def open(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to close."""

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        step = getattr(self._store, name)

        async def call(*args: Any, **options: Any) -> Any:
            return await self._wire.call(name, lambda: step(*args, **options))

        self.__dict__[name] = call
        return call


class RpcLink:
    """A process's connection to nodes of the chain; stands where ``facilitator.rpc.Rpc`` does."""

    resting = False

    def __init__(self, chain: Any, wire: Wire, endpoints: int = 1) -> None:
        self._chain = chain
        self._wire = wire
        self._endpoints = endpoints

    def apart(self) -> list[RpcLink]:
        """One for each endpoint."""
        if self._endpoints == 1:
            return [self]
        return [RpcLink(self._chain, self._wire) for _ in range(self._endpoints)]

    async def call(self, method: str, *params: Any) -> Any:
        """One call."""
        return (await self.batch([(method, params)]))[0]

    async def batch(self, calls: Any, check: Callable[[list[Any]], None] | None = None) -> list[Any]:
        """Several, answered at one block."""
        told = ",".join(method for method, _ in calls)
        answers: list[Any] = await self._wire.call(told, lambda: self._chain.ask(calls))
        if check is not None:
            check(answers)
        return answers

"""Many gateways before one Redis, one key and one chain, simulated event by event.

What a payment costs each of them is this run's measurement; what lies between them (waiting, batches,
blocks) is played through with arrivals at random. Every resource works on one thing at a time, in order.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from random import Random
from statistics import quantiles

SETTLING = 0.2
"""The share of a payment's processor time that goes into its settlement, where the key's lease is."""
_STEPS = (0.45, 0.35, 0.2)
"""How the rest is divided: until it is reserved, until it is served, and what is left after the answer."""
_STORE = (0.4, 0.3, 0.3)
"""How Redis' time is divided: reserving, recording the answer, recording the settlement."""
_AT_ONCE = 128
"""Outcomes that are recorded at once: requests pass between them."""
_WIRE = 0.0005
"""Seconds to another machine and back."""
_WARM = 1 / 3
"""The share of the time in which queues fill and nothing is counted."""
SOON = 0.25
"""Seconds within which 99 of 100 answers shall be there."""


@dataclass(frozen=True)
class Costs:
    """Of one payment: seconds of one core, and units of gas."""

    gateway: float
    store: float
    gas: float


@dataclass(frozen=True)
class Chain:
    """Where payments are settled."""

    block_time: float = 2.0
    gas_limit: float = 400e6
    batch: int = 100
    wait: float = 0.2
    """Seconds a batch waits for more."""


@dataclass(frozen=True)
class Fleet:
    """So many processes, each with a core of its own; keys are held by the first of them."""

    workers: int
    keys: int = 1
    chain: Chain = field(default_factory=Chain)


@dataclass
class Seen:
    """What one simulated load came to."""

    offered: float
    answered: float
    """A second."""
    settled: float
    p50: float
    p99: float
    """Seconds from the request to its answer (settled afterwards)."""
    gateways: float
    store: float
    settling: float
    """Shares of the time that they worked: all gateways, Redis, the busiest process that settles."""
    backlog: int
    """Answered and not settled yet, at the end."""

    @property
    def holds(self) -> bool:
        """Whether this load could go on for ever."""
        return self.p99 <= SOON and self.settled >= 0.93 * self.answered


class _Core:
    """Works on one thing after the other."""

    def __init__(self) -> None:
        self._free_at = 0.0
        self.worked = 0.0

    def work(self, now: float, seconds: float) -> float:
        """When it is done."""
        self._free_at = max(now, self._free_at) + seconds
        self.worked += seconds
        return self._free_at


class _Run:
    def __init__(self, fleet: Fleet, costs: Costs, rate: float, seconds: float, seed: int) -> None:
        self._fleet, self._costs, self._rate, self._seconds = fleet, costs, rate, seconds
        self._random = Random(seed)
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._order = count()
        self._cores = [_Core() for _ in range(fleet.workers)]
        self._store = _Core()
        self._due: list[deque[float]] = [deque() for _ in range(fleet.keys)]
        self._sent: list[deque[int]] = [deque() for _ in range(fleet.keys)]
        self._mined_of = [0] * fleet.keys
        self._latencies: list[float] = []
        self._settled = 0
        self._answered = 0

    def play(self) -> Seen:
        self._at(0.0, self._arrive)
        self._at(self._fleet.chain.block_time, self._block)
        while self._events:
            now, _, happens = heapq.heappop(self._events)
            if now > self._seconds:
                break
            happens(now)
        counted = self._seconds * (1 - _WARM)
        percentiles = quantiles(self._latencies, n=100) if len(self._latencies) > 1 else [0.0] * 99
        return Seen(
            offered=self._rate,
            answered=len(self._latencies) / counted,
            settled=self._settled / counted,
            p50=percentiles[49],
            p99=percentiles[98],
            gateways=sum(core.worked for core in self._cores) / len(self._cores) / self._seconds,
            store=self._store.worked / self._seconds,
            settling=max(self._settler(key).worked for key in range(self._fleet.keys)) / self._seconds,
            backlog=sum(map(len, self._due)) + sum(map(sum, self._sent)) + sum(self._mined_of),
        )

    def _at(self, when: float, happens: Callable[[float], None]) -> None:
        heapq.heappush(self._events, (when, next(self._order), happens))

    def _arrive(self, now: float) -> None:
        self._at(now + self._random.expovariate(self._rate), self._arrive)
        steps = self._serve(now, self._random.choice(self._cores))
        self._go_on(steps, now)

    def _go_on(self, steps: Iterator[float], now: float) -> None:
        for when in steps:
            self._at(when, lambda later: self._go_on(steps, later))
            return

    def _serve(self, began: float, core: _Core) -> Iterator[float]:
        """One payment; yields when its next step can begin."""
        now = began
        costs = self._costs
        for step, (share, stored) in enumerate(zip(_STEPS, _STORE, strict=True)):
            done = core.work(now, self._some(costs.gateway * (1 - SETTLING) * share))
            yield done
            if step == len(_STEPS) - 1:
                break
            now = self._store.work(done + _WIRE / 2, self._some(costs.store * stored)) + _WIRE / 2
            yield now
        if done > self._seconds * _WARM:
            self._latencies.append(done - began)
        self._answered += 1
        key = self._answered % self._fleet.keys
        yield self._settler(key).work(done, self._some(costs.gateway * SETTLING / 2))
        self._join(key, done)

    def _join(self, key: int, now: float) -> None:
        due, chain = self._due[key], self._fleet.chain
        due.append(now)
        if len(due) >= chain.batch:
            self._send(key, now)
        elif len(due) == 1:
            self._at(now + chain.wait, lambda later: self._send(key, later) if due else None)

    def _send(self, key: int, now: float) -> None:
        due = self._due[key]
        size = min(len(due), self._fleet.chain.batch)
        for _ in range(size):
            due.popleft()
        self._sent[key].append(size)

    def _block(self, now: float) -> None:
        """Takes what was sent, key by key, while there is gas."""
        chain = self._fleet.chain
        left = chain.gas_limit
        waiting = [key for key, sent in enumerate(self._sent) if sent]
        while waiting and self._sent[waiting[0]][0] * self._costs.gas <= left:
            key = waiting.pop(0)
            size = self._sent[key].popleft()
            left -= size * self._costs.gas
            self._mined(now, key, size)
            if self._sent[key]:
                waiting.append(key)
        self._at(now + chain.block_time, self._block)

    def _mined(self, now: float, key: int, size: int) -> None:
        self._mined_of[key] += size
        if self._mined_of[key] == size:
            self._record(now, key)

    def _record(self, now: float, key: int) -> None:
        """Records some of the outcomes, and goes on once they are durable."""
        some = min(self._mined_of[key], _AT_ONCE)
        if not some:
            return
        costs = self._costs
        done = self._settler(key).work(now, some * costs.gateway * SETTLING / 2)
        stored = self._store.work(done, some * costs.store * _STORE[2]) + _WIRE

        def recorded(later: float) -> None:
            self._mined_of[key] -= some
            if later > self._seconds * _WARM:
                self._settled += some
            self._record(later, key)

        self._at(stored, recorded)

    def _settler(self, key: int) -> _Core:
        return self._cores[key % len(self._cores)]

    def _some(self, mean: float) -> float:
        return self._random.expovariate(1 / mean) if mean else 0.0


def play(fleet: Fleet, costs: Costs, rate: float, *, blocks: int = 6, seed: int = 1) -> Seen:
    """What ``rate`` payments a second come to while so many blocks are made."""
    return _Run(fleet, costs, rate, blocks * fleet.chain.block_time, seed).play()


def most(fleet: Fleet, costs: Costs) -> Seen:
    """The highest load that the fleet holds, to a few in a hundred."""
    chain = fleet.chain
    mined = chain.gas_limit / chain.block_time / costs.gas
    low, high = 0.0, min(1.05 * fleet.workers / costs.gateway, 1.05 / costs.store, mined)
    best = play(fleet, costs, high * 0.01)
    for _ in range(6):
        middle = (low + high) / 2
        seen = play(fleet, costs, middle)
        if seen.holds:
            low, best = middle, seen
        else:
            high = middle
    return best

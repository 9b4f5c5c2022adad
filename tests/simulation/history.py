"""One history: a seed in, what happened and what must never have happened out."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from facilitator.packing import Batches
from gateway.payment import State
from simulation import clients
from simulation.chain import BASE_FEE
from simulation.faults import Plan
from simulation.loop import VirtualLoop
from simulation.oracle import judge
from simulation.process import Host, Slot
from simulation.virtual import CLOCK, RUNNING
from simulation.wallets import wallet
from simulation.world import AMOUNT, Violation, Want, World

LONGEST = 3000.0
"""Seconds of virtual time after which a history is called endless."""
MOMENTS = ("after", "before", "deferred", "lost")
MISCHIEF = (
    *("front run", "front run", "cancel", "drain", "forget pool", "restart", "restart", "fees"),
    "starve",
)
BATCHES = (
    Batches(max_size=1),
    Batches(),
    Batches(max_wait=4.0, max_size=3, gap=1.0, alone=1.0),
    Batches(max_wait=8.0, max_size=8, gap=3.0, alone=3.0),
)
"""Few clients come in these histories: payments travel together where they wait for each other."""
KINDS = (clients.Stock, clients.Stock, clients.Careful, clients.Careful, clients.Keyed, clients.Twofold)
THIRD = "0x7417d00000000000000000000000000000000000"


@dataclass(frozen=True)
class Result:
    """What a history came to."""

    seed: int
    violations: tuple[Violation, ...]
    outcomes: Counter[str]
    faults: Counter[str]
    states: Counter[str]
    calls: int
    executions: int
    seconds: float
    """Virtual."""


def run(seed: int, tell: Callable[[str], None] | None = None) -> Result:
    """Run the history of ``seed``; ``tell`` gets the lines of its trace."""
    RUNNING.clear()
    rng = Random(seed)
    loop = VirtualLoop(rng)
    CLOCK.loop = loop
    world = World(loop, rng, draw_plan(rng), tell)
    story = Story(world)
    try:
        loop.run(story.run(), LONGEST)
    except TimeoutError as error:
        world.violate("S1", str(error))
    for complaint in loop.complaints:
        world.violate("W3", complaint)
    story.end()
    result = Result(
        seed,
        tuple(world.violations),
        world.outcomes,
        world.faults.injected,
        Counter(record.state.value for record in world.store.records.values()),
        world.faults.calls,
        len(world.upstream.executions),
        loop.time(),
    )
    loop.end()
    return result


def draw_plan(rng: Random) -> Plan:
    """No fault, one fault at one await, or many."""
    draw = rng.random()
    outages = []
    if rng.random() < 0.12:
        start = rng.random() * 15
        outages.append((rng.choice(("store", "rpc")), start, start + 0.5 + rng.random() ** 2 * 30))
    if draw < 0.05:
        return Plan(outages=tuple(outages))
    if draw < 0.55:
        return Plan(only=1 + int(rng.random() ** 1.5 * 260), outages=tuple(outages))
    return Plan(rate=rng.choice((0.003, 0.01, 0.03, 0.08)), outages=tuple(outages))


class Story:
    """Who takes part in a history, and its course."""

    def __init__(self, world: World) -> None:
        self.world = world
        rng = self.rng = world.rng
        world.upstream.faulty = rng.choice((0.0, 0.0, 0.0, 0.2, 0.5))
        world.upstream.slow = rng.choice((0.0, 0.0, 0.1, 0.3))
        world.upstream.large = rng.choice((0.0, 0.0, 0.0, 0.3))
        world.endpoints = rng.choice((1, 1, 2))
        world.batches = rng.choice(BATCHES)
        self.slots = self._slots()
        self.payers = list(range(rng.choice((1, 1, 1, 2))))
        self.main = rng.choice(MOMENTS)
        self.people: list[clients.Client] = []

    def _slots(self) -> list[Slot]:
        rng, world = self.rng, self.world
        shape = rng.choice(("one", "two workers", "two ports", "one", "two workers"))
        host = Host(world, "h", rng)
        if shape == "one":
            return [host.slot("h:8402", 0)]
        if shape == "two workers":
            return [host.slot("h:8402", 0), host.slot("h:8402", 1)]
        return [host.slot("h:8402", 0), host.slot("h:8502", 0)]

    async def run(self) -> None:
        """Clients come, things break; then all is calm, and everybody comes to an end."""
        for slot in self.slots:
            slot.start()
        self._fund()
        await asyncio.sleep(0.1)
        tasks = [asyncio.ensure_future(person) for person in self._cast()]
        mischief = asyncio.ensure_future(self._mischief())
        for task in tasks:
            await task
        mischief.cancel()
        await self._calm()
        judge(self.world, self.slots)

    def _fund(self) -> None:
        for payer in self.payers:
            rich = self.rng.random() < 0.75
            amount = AMOUNT * (100 if rich else self.rng.randint(1, 2))
            if not rich:
                self.world.poor.add(payer)
            self.world.chain.balances[wallet(payer).address] = amount
        self.world.chain.balances[wallet(20).address] = AMOUNT * 100

    def _cast(self) -> list[Any]:
        rng, world = self.rng, self.world
        count = rng.choice((1, 1, 2, 2, 3, 4))
        paths = [self._path(number) for number in range(rng.choice((1, 1, count)))]
        cast: list[Any] = []
        for number in range(count):
            want = Want(rng.choice(self.payers), rng.choice(paths))
            world.wants.append(want)
            kind = rng.choice(KINDS)
            person = kind(world, self.slots, want, number)
            self.people.append(person)
            cast.append(self._late(person.run()))
        if rng.random() < 0.35:
            cast.append(clients.bystander(world, self.slots))
        if rng.random() < 0.08:
            cast.append(clients.forger(world, self.slots, self.payers[0], paths[0]))
        if rng.random() < 0.08:
            world.wants += [
                Want(20, paths[0], expected_refusal=True),
                Want(20, "/after/other", expected_refusal=True),
            ]
            cast.append(clients.misuser(world, self.slots, 20, paths[0], "/after/other"))
        if rng.random() < 0.08:
            keys = [f"{letter}{number}.{turn}" for letter in "k" for number in range(2) for turn in (1,)]
            world.wants += [Want(21, paths[0], expected_refusal=True) for _ in keys]
            world.chain.balances[wallet(21).address] = AMOUNT * 100
            cast.append(clients.key_thief(world, self.slots, 21, paths[0], keys))
        return cast

    async def _late(self, work: Any) -> None:
        if self.rng.random() < 0.6:
            await asyncio.sleep(self.rng.random() ** 2 * 12)
        await work

    def _path(self, number: int) -> str:
        moment = self.main if self.rng.random() < 0.85 else self.rng.choice(MOMENTS)
        return f"/{moment}/{number}"

    async def _mischief(self) -> None:
        """Third parties, payers that take their money back, restarts."""
        rng, world = self.rng, self.world
        for _ in range(rng.choice((0, 0, 0, 1, 2, 3))):
            await asyncio.sleep(rng.random() ** 2 * 10)
            what = rng.choice(MISCHIEF)
            world.say("mischief", what)
            if what == "restart":
                world.restarts += 1
                rng.choice(self.slots).restart_in_order()
                continue
            if what == "forget pool":
                world.chain.forget_pool()
                continue
            if what == "starve":
                world.chain.starved = rng.choice((0.0, 0.5))
                continue
            if what == "fees":
                world.chain.now()
                world.chain.base_fee = BASE_FEE * rng.choice((1, 5, 20, 1000))
                continue
            self._money(what)

    def _money(self, what: str) -> None:
        rng, world = self.rng, self.world
        signed = [each for each in world.signed.values() if not each.forged]
        if not signed:
            return
        which = rng.choice(signed)
        payer = wallet(which.payer).address
        if what == "front run":
            if which.data not in world.chain.sent:
                world.hostile.add(which.payer)  # nobody else has it
            world.chain.front_run(which.data, THIRD)
        elif what == "cancel":
            world.hostile.add(which.payer)
            world.chain.cancel(payer, which.nonce)
        else:
            world.hostile.add(which.payer)
            world.chain.drain(payer)

    async def _calm(self) -> None:
        """No more faults: gateways come back, who has no answer yet tries on, settlements end."""
        world = self.world
        world.faults.calm = True
        world.upstream.faulty = world.upstream.slow = 0.0
        world.chain.now()
        world.chain.base_fee = BASE_FEE
        world.chain.starved = None
        world.say("world", "all is calm")
        for slot in self.slots:
            slot.recover()
        await asyncio.sleep(2)
        for _ in range(4):
            for person in self.people:
                if not person.want.answered:
                    person.want.refused = None
                    await person.run(6)
            await self._quiet()
            if all(person.want.answered for person in self.people):
                return

    async def _quiet(self) -> None:
        for turn in range(60):
            if not self._busy():
                return
            await asyncio.sleep(2 if turn < 10 else 10)

    def _busy(self) -> bool:
        store = self.world.store
        states = (State.SERVING, State.RESERVED)
        return any(
            record.in_flight or record.queued is not None or record.state in states
            for record in store.records.values()
        )

    def end(self) -> None:
        """Let go of everything."""
        self.slots[0].host.end()
        self.world.loop.kill(self.world.loop.world)

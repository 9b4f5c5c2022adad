"""Gateway processes: the real gateway, put together as by ``gateway.app``, that can be killed and stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from random import Random
from typing import Any

from facilitator.chain import Chain
from facilitator.local import LocalFacilitator
from facilitator.rpc import RpcUnavailable
from gateway.accept import Acceptor
from gateway.budget import Budget
from gateway.deliveries import Deliveries
from gateway.drain import break_off
from gateway.errors import StoreUnavailable
from gateway.exchange import Exchange, Times
from gateway.handout import Handout
from gateway.intake import Bounds, Intake
from gateway.leases import Leases
from gateway.listener import Listener
from gateway.observe import Metrics
from gateway.orphans import Orphans
from gateway.outcomes import Outcomes
from gateway.presence import Presence
from gateway.pricing import Pricing
from gateway.rails.x402 import X402Rail
from gateway.receiving import Limits
from gateway.redemption import Redemption
from gateway.relay import Relay
from gateway.render import Renderer
from gateway.settings import Upstream
from gateway.settlement import Settler
from gateway.verifying import Verifier
from gateway.watch import StoreWatch
from policies.money import atomic
from policies.route import Exposure, Route, parse_pattern
from policies.table import RouteTable
from simulation.clients import Who
from simulation.faults import RpcLink, StoreLink, Wire
from simulation.loop import Domain
from simulation.net import Pipe
from simulation.signer import KEY, MAX_FEE_GWEI, SimulatedSigner
from simulation.upstream import SimulatedForwarder
from simulation.virtual import CLOCK, RUNNING
from simulation.wallets import CHAIN_ID, MAX_TIMEOUT, NETWORK, terms
from simulation.world import AMOUNT, CAPS, MAX_ANSWER, World

SETTLE_WITHIN = 15.0
TIMEOUT = 30.0
DRAIN = 25.0
REPLAY_WINDOW = 3600.0
METRICS = Metrics("simulation")
"""One for all: they only count."""


def _route(moment: str, lost: bool = False) -> Route:
    return Route(
        name=f"GET /{'lost' if lost else moment}",
        pattern=parse_pattern(f"/{'lost' if lost else moment}/{{number}}"),
        upstream="api",
        methods=frozenset({"GET", "HEAD"}),
        price=atomic(AMOUNT, "USDC"),
        accept=("x402",),
        settle=moment,
        exposure=Exposure(CAPS.per_payer, CAPS.total),
        settle_lost=lost,
        timeout=TIMEOUT,
    )


TABLE = RouteTable([_route("after"), _route("before"), _route("deferred"), _route("after", lost=True)])
_CHAIN = Chain(
    chain_id=CHAIN_ID,
    caip2=NETWORK,
    rpc=("http://node.example",),
    confirmations=1,
    finality=64,
    settle_within=SETTLE_WITHIN,
    max_fee_gwei=MAX_FEE_GWEI,
)
_LIMITS = Limits(10.0, 75.0, 1000)
UPSTREAMS = {"api": Upstream("api", "http://api.internal", TIMEOUT, 5.0, "upstream", {})}


class Process:
    """One worker."""

    def __init__(self, world: World, name: str, slot: str, run: str, number: int) -> None:
        self.world = world
        self.name = name
        self.domain = Domain(name)
        self.dead = False
        self.draining = False
        self.pipes: list[Pipe] = []
        self._slot = (slot, run, number)
        self._ready = False
        RUNNING.add(name)
        world.loop.spawn(self.domain, self._run())

    # What the outside does to it

    @property
    def accepts(self) -> bool:
        """Whether somebody listens."""
        return self._ready and not self.dead and not self.draining

    def kill(self) -> None:
        """kill -9."""
        if self.dead:
            return
        self.dead = True
        RUNNING.discard(self.name)
        self.world.say(self.name, "KILLED")
        self.world.loop.kill(self.domain)
        for pipe in self.pipes:
            pipe.die()

    def freeze(self, seconds: float) -> None:
        """SIGSTOP, and SIGCONT after a while."""
        self.world.say(self.name, f"stopped for {seconds:.1f} s")
        self.world.loop.freeze(self.domain)
        self.world.loop.within(self.world.loop.world, self._thaw_after, seconds)

    def _thaw_after(self, seconds: float) -> None:
        self.world.loop.call_later(seconds, self.thaw)

    def thaw(self) -> None:
        """SIGCONT."""
        if self.domain.frozen and not self.dead:
            self.world.say(self.name, "goes on")
        self.world.loop.thaw(self.domain)

    def stop(self) -> None:
        """SIGTERM."""
        if not self.dead and self._ready:
            self.draining = True
            self.world.loop.spawn(self.domain, self._drain())

    def connect(self, who: Who) -> Pipe:
        """A client's connection."""
        pipe = Pipe(self.world.loop, self.domain, self.world, self._slow)
        pipe.about = who
        self.pipes.append(pipe)
        self.world.loop.within(self.domain, self._accept, pipe)
        return pipe

    def _accept(self, pipe: Pipe) -> None:
        pipe.open(self._listener())

    def deliver(self, pipe: Pipe, data: bytes) -> None:
        """What a client sends."""
        self.world.loop.within(self.domain, pipe.receive, data)

    def _slow(self) -> float:
        rng = self.world.rng
        return rng.random() * 2 if rng.random() < 0.03 else 0.0

    # Its life

    async def _run(self) -> None:
        self._build()
        loops = [
            self._watch.run(),
            self._leases.run(),
            self._deliveries.run(),
            self._presence.run(self._deliveries.flush),
        ]
        self._tasks: list[Any] = [asyncio.create_task(loop) for loop in loops]
        self._tasks += self._settler.start()
        for task in self._tasks:
            task.add_done_callback(self._died)
        self._ready = True

    def _died(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None and not self.dead:
            self.world.violate("W3", f"a background task of {self.name} died: {task.exception()!r}")
            self.kill()

    async def _drain(self) -> None:
        world = self.world
        world.say(self.name, "drains")
        until = world.loop.time() + DRAIN
        while self._listener.connections and world.loop.time() < until:  # noqa: ASYNC110 - as gateway.drain
            await asyncio.sleep(0.1)
        await break_off(self._listener)
        await self._settler.stop(max(0.0, until - world.loop.time()))
        await self._farewell()
        self.kill()

    async def _farewell(self) -> None:
        try:
            await self._deliveries.flush()
            await self._presence.leave()
        except StoreUnavailable:
            return

    def _build(self) -> None:
        world = self.world
        store_wire = Wire(
            world.faults,
            self,
            "store",
            patience=0.9,
            failure=StoreUnavailable,
            outside=world.loop.world,
            in_order=True,
        )
        rpc_wire = Wire(
            world.faults,
            self,
            "rpc",
            patience=5.0,
            failure=lambda: RpcUnavailable("node.example: TimeoutError"),
            outside=world.loop.world,
        )
        store: Any = StoreLink(world.store, store_wire)
        rail = self._rail(RpcLink(world.chain, rpc_wire, world.endpoints))
        rails = [rail]
        self._watch = StoreWatch(store, METRICS)
        self._leases = Leases(store)
        self._presence = Presence(store, *self._slot)
        self._deliveries = Deliveries(store)
        self._settler = Settler(
            store,
            self._leases,
            rails,
            presence=self._presence,
            replay_window=REPLAY_WINDOW,
            exclusive=True,
            metrics=METRICS,
        )
        pricing = Pricing(TABLE, {"api": TIMEOUT}, "http://api.example", MAX_TIMEOUT)
        renderer = Renderer("*", METRICS)
        outcomes = Outcomes({rail.name: rail}, self._deliveries, renderer, METRICS)
        forwarder = SimulatedForwarder(UPSTREAMS, world.upstream, world.faults, self, self._executes)
        verifier = Verifier(store, METRICS)
        handout = Handout(
            forwarder=forwarder,
            pricing=pricing,
            deliveries=self._deliveries,
            renderer=renderer,
            metrics=METRICS,
            max_answer=MAX_ANSWER,
        )
        intake = Intake(
            acceptor=Acceptor((), "tollway-sim"),
            pricing=pricing,
            rails=rails,
            watch=self._watch,
            relay=Relay(forwarder, 10**6, 30.0),
            outcomes=outcomes,
            renderer=renderer,
            metrics=METRICS,
            bounds=Bounds(10**6, 30.0),
            desk=None,
        )
        redemption = Redemption(
            store=store,
            presence=self._presence,
            leases=self._leases,
            verifier=verifier,
            handout=handout,
            deliveries=self._deliveries,
            outcomes=outcomes,
            renderer=renderer,
            metrics=METRICS,
            replay_window=REPLAY_WINDOW,
        )
        exchange = Exchange(
            intake=intake,
            store=store,
            presence=self._presence,
            leases=self._leases,
            verifier=verifier,
            settler=self._settler,
            handout=handout,
            redemption=redemption,
            deliveries=self._deliveries,
            budget=Budget(10**8),
            orphans=Orphans(store),
            outcomes=outcomes,
            renderer=renderer,
            metrics=METRICS,
            times=Times(MAX_TIMEOUT, SETTLE_WITHIN + 2.0),
        )
        self._listener = Listener(exchange.go_on, renderer.unparsed, _LIMITS, exchange.begin)

    def _rail(self, rpc: RpcLink) -> X402Rail:
        clock = CLOCK.unix
        session: Any = None
        facilitator = LocalFacilitator([_CHAIN], [KEY], session, clock, batches=self.world.batches)
        facilitator.client(NETWORK).rpc = rpc  # type: ignore[assignment]
        signer = SimulatedSigner(rpc)

        async def load() -> Any:
            return signer

        facilitator._desks[NETWORK].signer = load
        return X402Rail(
            lambda money, own: [terms(AMOUNT)],
            facilitator,
            versions=frozenset({2}),
            settle_within={NETWORK: SETTLE_WITHIN},
            worth=lambda asked: asked.amount,
            clock=clock,
        )

    def _executes(self, payment: str, path: str) -> int:
        return self.world.executes(payment, path, self._presence._name)


class Slot:
    """A listening address and worker number: one process after another."""

    def __init__(self, host: Host, address: str, number: int) -> None:
        self.host = host
        self.address = address
        self.number = number
        self.process: Process | None = None
        self._waits = False

    @property
    def name(self) -> str:
        """What the trace calls it."""
        return self.process.name if self.process is not None else f"{self.address}#{self.number}"

    def start(self) -> None:
        """Start its process, now."""
        self._waits = False
        self.process = self.host.start(self)

    def restart_in_order(self) -> None:
        """SIGTERM; somebody starts it again."""
        if self.process is not None and self.process.accepts:
            self.process.stop()

    def connect(self, who: Who) -> Pipe | None:
        """A connection to whoever listens; None where nobody does."""
        slot = self if self._up() else next((one for one in self.host.slots if one._up()), None)
        if slot is None:
            return None
        assert slot.process is not None
        return slot.process.connect(who)

    def stopped(self, pipe: Pipe) -> bool:
        """Whether the process that has the connection is stopped just now."""
        return any(pipe in process.pipes and process.domain.frozen for process in self.host.processes)

    def deliver(self, pipe: Pipe, data: bytes) -> None:
        """Bytes for the process that has the connection."""
        for process in self.host.processes:
            if pipe in process.pipes and not process.dead:
                process.deliver(pipe, data)

    def _up(self) -> bool:
        return self.process is not None and self.process.accepts

    def look(self) -> None:
        """Who watches over it: start again what has ended."""
        if not self._waits and (self.process is None or self.process.dead):
            self._waits = True
            rng = self.host.rng
            wait = 0.1 + rng.random() * (1 if rng.random() < 0.6 else 20)
            self.host.world.loop.call_later(wait, self._again)

    def _again(self) -> None:
        if self.process is None or self.process.dead:
            self.start()

    def recover(self) -> None:
        """At the end everything runs."""
        if self.process is None or self.process.dead:
            self.start()
        elif self.process.domain.frozen:
            self.process.thaw()


class Host:
    """One machine."""

    def __init__(self, world: World, name: str, rng: Random) -> None:
        self.world = world
        self.name = name
        self.rng = rng
        self.slots: list[Slot] = []
        self.processes: list[Process] = []
        self._runs: dict[str, int] = {}
        world.loop.within(world.loop.world, self._supervise)

    def slot(self, address: str, number: int) -> Slot:
        """A place for a process."""
        made = Slot(self, address, number)
        self.slots.append(made)
        self._runs.setdefault(address, 1)
        return made

    def start(self, slot: Slot) -> Process:
        """A new process; of the same run while another worker of it is there, of a new one otherwise."""
        beside = [
            one for one in self.slots if one is not slot and one.address == slot.address and one.process
        ]
        alive = any(one.process is not None and not one.process.dead for one in beside)
        if not alive and slot.process is not None:
            self._runs[slot.address] += 1
        run = f"{slot.address}r{self._runs[slot.address]}"
        name = f"p{len(self.processes)}"
        made = Process(self.world, name, slot.address, run, slot.number)
        self.processes.append(made)
        self.world.say(name, f"starts on {slot.address} as worker {slot.number} of {run}")
        return made

    def end(self) -> None:
        """The history is over."""
        for process in self.processes:
            if not process.dead:
                process.dead = True
                self.world.loop.kill(process.domain)
                RUNNING.discard(process.name)

    def _supervise(self) -> None:
        for slot in self.slots:
            slot.look()
        self.world.loop.call_later(0.5, self._supervise)


Slots = Sequence[Slot]

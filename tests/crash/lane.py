"""One gateway on one store, killed again and again while people buy."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from crash.audit import MOVING, audit
from crash.evidence import Evidence, Finding
from crash.plan import Cycle
from crash.rail import Rail
from crash.scene import Scene
from crash.wants import Want

BATCH = 10
"""Cycles between two audits."""
FREEZE = 11.5
"""Seconds a worker is stopped: longer than its lease (10 s)."""
CALM = 75.0
"""Seconds clients and settlements get to come to an end once nothing breaks any more: longer than an
authorization is good here (60 s)."""
CROWD = 24
"""Purchases under way above which nothing dies until half of them are done."""
LOOK = 0.02


@dataclass
class Told:
    """What became of a cycle."""

    cycle: Cycle
    reached: bool = False
    seconds: float = 0.0
    begun: int = 0
    open: int = 0
    extra: list[str] = field(default_factory=list)


class Lane:
    """Plays its cycles in order, audits every ``BATCH`` of them, and stops where something is found."""

    def __init__(
        self,
        store: str,
        cycles: Sequence[Cycle],
        rail: Rail,
        folder: Path,
        say: Callable[[Told], None],
        ended: Callable[[Lane], None],
    ) -> None:
        self.store = store
        self.wants: list[Want] = []
        self.findings: list[Finding] = []
        self.told: list[Told] = []
        self.evidence: Evidence | None = None
        self._cycles = cycles
        self._say = say
        self._ended = ended
        self._buying: set[asyncio.Task[None]] = set()
        moments = sorted({errand.moment for cycle in cycles for errand in cycle.errands})
        self._scene = Scene(store, moments, rail, folder)

    async def run(self) -> None:
        """Everything, from an empty store to the last audit."""
        try:
            for played, cycle in enumerate(self._cycles, start=1):
                await self._play(cycle)
                if played % BATCH == 0 or played == len(self._cycles):
                    await self._audit()
                if self.findings:
                    return
        finally:
            for task in self._buying:
                task.cancel()
            await asyncio.gather(*self._buying, return_exceptions=True)
            await self._scene.close()
            self._ended(self)

    @property
    def rail_told(self) -> str:
        """What the money's side has to tell."""
        return self._scene.rail.told()

    # Cycles

    async def _play(self, cycle: Cycle) -> None:
        told = Told(cycle)
        if len(self._buying) >= CROWD or cycle.signal == "STOP":
            await self._rest(0 if cycle.signal == "STOP" else CROWD // 2)
        began = time.monotonic()
        up = await self._scene.start(cycle.workers, cycle.armed)
        for errand in cycle.errands:
            want = self._scene.want(len(self.wants) + 1, cycle, errand)
            self.wants.append(want)
            self._begin(want, errand.starts)
        if up:
            others = asyncio.gather(self._kill_redis(cycle, told), self._fail(cycle, told))
            await self._until_it_dies(cycle, told)
            await others
        else:
            told.reached = True
            told.extra.append("died while it started")
        self._scene.gateway.kill()
        told.seconds = time.monotonic() - began
        told.begun, told.open = len(cycle.errands), len(self._buying)
        self.told.append(told)
        self._say(told)

    def _begin(self, want: Want, after: float) -> None:
        async def buy() -> None:
            await asyncio.sleep(after)
            await self._scene.buyers.buy(want)

        task = asyncio.create_task(buy())
        self._buying.add(task)
        task.add_done_callback(self._bought)

    def _bought(self, task: asyncio.Task[None]) -> None:
        self._buying.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.findings.append(Finding("a client broke", repr(error)))

    async def _rest(self, crowd: int) -> None:
        """Nothing breaks until no more than ``crowd`` purchases are under way."""
        await self._scene.start()
        until = time.monotonic() + CALM
        while len(self._buying) > crowd and time.monotonic() < until:
            await asyncio.wait(self._buying, timeout=1.0, return_when=asyncio.FIRST_COMPLETED)
        self._scene.gateway.kill()

    async def _until_it_dies(self, cycle: Cycle, told: Told) -> None:
        gateway = self._scene.gateway
        workers, until = gateway.workers(), time.monotonic() + cycle.lasts
        while time.monotonic() < until:
            if cycle.signal == "STOP" and (frozen := gateway.stopped()):
                told.reached = True
                await self._freeze(frozen[0])
                return
            if gateway.ended or gateway.workers() != workers:
                told.reached = True
                # Where only one worker died, the other goes on for a while before everything is killed.
                await asyncio.sleep(0.0 if gateway.ended else 0.2 + cycle.nth * 0.3)
                return
            await asyncio.sleep(LOOK)
        told.reached = cycle.point == "random"

    async def _freeze(self, worker: int) -> None:
        await asyncio.sleep(FREEZE)
        self._scene.gateway.thaw(worker)
        await asyncio.sleep(1.0)

    async def _kill_redis(self, cycle: Cycle, told: Told) -> None:
        redis = self._scene.redis
        if redis is None or cycle.redis_dies is None:
            return
        await asyncio.sleep(min(cycle.redis_dies, cycle.lasts))
        await asyncio.to_thread(redis.kill)
        await asyncio.sleep(0.1)
        await asyncio.to_thread(redis.start)
        told.extra.append("Redis killed")

    async def _fail(self, cycle: Cycle, told: Told) -> None:
        """Well again before the next gateway starts: the fault is about this one's work."""
        if cycle.fault is None:
            return
        self._scene.rail.fail(cycle.fault)
        await asyncio.sleep(cycle.fails)
        self._scene.rail.mend()
        told.extra.append(f"{self._scene.rail.name} {cycle.fault}")

    # Audits

    async def _audit(self) -> None:
        """Nothing breaks any more: let all end, let those who left come back, and compare."""
        await self._scene.start()
        await self._calm()
        self.evidence = await self._scene.evidence(self.wants)
        if self._come_back(self.evidence.ledger):
            await self._calm()
            self.evidence = await self._scene.evidence(self.wants)
        self.findings += audit(self.evidence, self._scene.rail.rules)
        if "Traceback" in self._scene.gateway.logs():
            self.findings.append(Finding("a traceback in the log", str(self._scene.gateway.folder)))
        self._scene.gateway.kill()

    async def _calm(self) -> None:
        until = time.monotonic() + CALM
        while time.monotonic() < until:
            if not self._buying and not await self._moving():
                return
            await asyncio.sleep(0.1)

    async def _moving(self) -> bool:
        return any(record["state"] in MOVING for record in await self._scene.ledger())

    def _come_back(self, ledger: Sequence[dict[str, Any]]) -> int:
        """Those who left while their money moved ask again, with a new payment."""
        lost = {each["id"] for each in ledger if each["state"] in ("settled", "refund_due")}
        lost -= {each["id"] for each in ledger if each["delivered_at"]}
        returning = [
            want
            for want in self.wants
            if want.ended == "quit" and any(signed.id in lost for signed in want.signed)
        ]
        for want in returning:
            want.errand = replace(want.errand, manner="stock", patience=9.0)
            want.ended = ""
            self._begin(want, 0.0)
        return len(returning)

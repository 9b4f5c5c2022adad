"""One gateway on one store, killed again and again while people buy."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from crash.armed import ArmedGateway
from crash.audit import MOVING, Evidence, Execution, Finding, audit
from crash.clients import Buyers
from crash.plan import Cycle, Errand
from crash.rpc_faults import RPC_FAULTS
from crash.transfers import mined, transfers_to
from crash.wants import Want
from kit.accounts import new_account
from kit.anvil import Anvil
from kit.faultproxy import FaultProxy
from kit.gateway import plain_config
from kit.redis_server import RedisServer
from kit.upstream import Exchange, Upstream

BATCH = 10
"""Cycles between two audits."""
FREEZE = 11.5
"""Seconds a worker is stopped: longer than its lease (10 s)."""
CALM = 75.0
"""Seconds clients and settlements get to come to an end once nothing breaks any more."""
CROWD = 24
"""Purchases under way above which nothing dies until half of them are done."""
PAYERS = 6
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
    """Plays its cycles in order and audits every ``BATCH`` of them."""

    def __init__(
        self, store: str, cycles: Sequence[Cycle], anvil: Anvil, folder: Path, say: Callable[[Told], None]
    ) -> None:
        self.store = store
        self.wants: list[Want] = []
        self.findings: list[Finding] = []
        self.told: list[Told] = []
        self.evidence: Evidence | None = None
        self.payee = new_account()
        self.upstream = Upstream()
        self._rpc = FaultProxy(anvil.url)
        self._cycles = cycles
        self._anvil = anvil
        self._folder = folder
        self._say = say
        self._redis = RedisServer() if store == "redis" else None
        self._payers = [new_account() for _ in range(PAYERS)]
        self._buying: set[asyncio.Task[None]] = set()

    # Surroundings

    async def run(self) -> None:
        """Everything, from an empty store to the last audit."""
        if self._redis is not None:
            self._redis.start()
        self.upstream.start()
        self._rpc.clear()
        self.gateway = self._make_gateway()
        self._buyers = Buyers(self.gateway.url, self._anvil.chain_id, self._anvil.token, self._proof)
        try:
            await self._play()
        finally:
            for task in self._buying:
                task.cancel()
            await asyncio.gather(*self._buying, return_exceptions=True)
            await self._buyers.close()
            self.gateway.kill()
            self.upstream.stop()
            self._rpc.refuse()
            if self._redis is not None:
                self._redis.stop()

    def _make_gateway(self) -> ArmedGateway:
        sender = new_account()
        self._anvil.rpc("anvil_setBalance", sender.address, hex(10**20))
        for payer in self._payers:
            self._anvil.mint(payer.address, 10**12)
        moments = dict.fromkeys(errand.moment for cycle in self._cycles for errand in cycle.errands)
        config = plain_config(
            upstream=self.upstream.url,
            rpc=self._rpc.url,
            pay_to=self.payee.address,
            key=sender.key,
            routes=[_route(moment) for moment in moments],
            store={"url": self._redis.url if self._redis else "embedded"},
        )
        config["networks"]["localdev"] |= {"settle_within": "10s", "finality": 2}
        config["upstreams"]["api"]["timeout"] = "5s"
        config["rails"]["x402"]["max_timeout"] = "60s"
        self._config = config
        return ArmedGateway(config, folder=self._folder)

    async def _proof(self, transaction: str) -> bool:
        return await asyncio.to_thread(mined, self._anvil, transaction)

    # Cycles

    async def _play(self) -> None:
        for played, cycle in enumerate(self._cycles, start=1):
            told = Told(cycle)
            await self._cycle(cycle, told)
            self.told.append(told)
            self._say(told)
            if played % BATCH == 0 or played == len(self._cycles):
                await self._audit()
            if self.findings:
                return

    async def _cycle(self, cycle: Cycle, told: Told) -> None:
        if len(self._buying) >= CROWD or cycle.signal == "STOP":
            await self._rest(0 if cycle.signal == "STOP" else CROWD // 2)
        self.gateway.write(self._config | {"server": {"workers": cycle.workers}})
        began = time.monotonic()
        up = await self.gateway.launch(cycle.armed)
        told.begun = self._begin(cycle)
        if up:
            others = asyncio.gather(self._kill_redis(cycle, told), self._fail_rpc(cycle, told))
            await self._until_it_dies(cycle, told)
            await others
        else:
            told.reached = True
            told.extra.append("died while it started")
        self.gateway.kill()
        told.seconds = time.monotonic() - began
        told.open = len(self._buying)

    def _begin(self, cycle: Cycle) -> int:
        for errand in cycle.errands:
            self._spawn(self._want(cycle, errand), errand.starts)
        return len(cycle.errands)

    async def _rest(self, crowd: int) -> None:
        """Nothing breaks until no more than ``crowd`` purchases are under way."""
        self.gateway.write(self._config)
        await self.gateway.launch("")
        until = time.monotonic() + CALM
        while len(self._buying) > crowd and time.monotonic() < until:
            await asyncio.wait(self._buying, timeout=1.0, return_when=asyncio.FIRST_COMPLETED)
        self.gateway.kill()

    def _want(self, cycle: Cycle, errand: Errand) -> Want:
        number = len(self.wants) + 1
        name = f"poll-{cycle.number}" if errand.shared else str(number)
        path = f"/{errand.moment}/{name}"
        self.upstream.on(path, _works(errand))
        body = b'{"want": %d}' % number if errand.posts else b""
        want = Want(number, path, errand, self._payers[errand.payer], body)
        self.wants.append(want)
        return want

    def _spawn(self, want: Want, after: float) -> None:
        async def buy() -> None:
            await asyncio.sleep(after)
            await self._buyers.buy(want)

        task = asyncio.create_task(buy())
        self._buying.add(task)
        task.add_done_callback(self._bought)

    def _bought(self, task: asyncio.Task[None]) -> None:
        self._buying.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.findings.append(Finding("a client broke", repr(error)))

    async def _until_it_dies(self, cycle: Cycle, told: Told) -> None:
        began, workers = time.monotonic(), self.gateway.workers()
        until = began + cycle.lasts
        while time.monotonic() < until:
            if cycle.signal == "STOP" and (frozen := self.gateway.stopped()):
                told.reached = True
                await self._freeze(frozen[0])
                return
            if self.gateway.ended or self.gateway.workers() != workers:
                told.reached = True
                await self._linger(cycle)
                return
            await asyncio.sleep(LOOK)
        told.reached = cycle.point == "random"

    async def _linger(self, cycle: Cycle) -> None:
        """Where only one worker died, the other goes on for a while before everything is killed."""
        if not self.gateway.ended:
            await asyncio.sleep(0.2 + cycle.nth * 0.3)

    async def _freeze(self, worker: int) -> None:
        await asyncio.sleep(FREEZE)
        self.gateway.thaw(worker)
        await asyncio.sleep(1.0)

    async def _kill_redis(self, cycle: Cycle, told: Told) -> None:
        if self._redis is None or cycle.redis_dies is None:
            return
        await asyncio.sleep(min(cycle.redis_dies, cycle.lasts))
        self._redis.kill()
        await asyncio.sleep(0.1)
        self._redis.start()
        told.extra.append("Redis killed")

    async def _fail_rpc(self, cycle: Cycle, told: Told) -> None:
        """Well again before the next gateway starts: the fault is about this one's work."""
        if cycle.rpc_fault is None:
            return
        RPC_FAULTS[cycle.rpc_fault](self._rpc)
        await asyncio.sleep(cycle.rpc_fails)
        self._rpc.clear()
        told.extra.append(f"the RPC {cycle.rpc_fault}")

    # Audits

    async def _audit(self) -> None:
        """Nothing breaks any more: let all end, let those who left come back, and compare."""
        self.gateway.write(self._config)
        await self.gateway.launch("")
        await self._calm()
        if self._come_back(await self._ledger()):
            await self._calm()
        ledger = await self._ledger()
        transfers = await asyncio.to_thread(transfers_to, self._anvil, self.payee.address)
        self.evidence = Evidence(list(self.wants), ledger, transfers, self._executions())
        self.findings += audit(self.evidence)
        if "Traceback" in self.gateway.logs():
            self.findings.append(Finding("a traceback in the log", str(self.gateway.folder)))
        self.gateway.kill()

    async def _calm(self) -> None:
        until = time.monotonic() + CALM
        while time.monotonic() < until:
            if not self._buying and not await self._moving():
                return
            await asyncio.sleep(0.1)

    async def _moving(self) -> bool:
        ledger = await self._ledger()
        return any(record["state"] in MOVING for record in ledger)

    def _come_back(self, ledger: Sequence[dict[str, Any]]) -> int:
        """Those who left while their money moved ask again, with a new signature."""
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
            self._spawn(want, 0.0)
        return len(returning)

    async def _ledger(self) -> list[dict[str, Any]]:
        """As ``tollway ledger`` prints it."""
        command = [sys.executable, "-m", "gateway", "ledger", "-c", str(self.gateway.config_file)]
        process = await asyncio.create_subprocess_exec(
            *command,
            *("--format", "jsonl"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        if process.returncode:
            raise RuntimeError(f"tollway ledger ended with {process.returncode}: {err.decode()}")
        return [json.loads(line) for line in out.splitlines()]

    def _executions(self) -> list[Execution]:
        received = list(self.upstream.received)
        return [
            Execution(number, each.path, each.header("X-Tollway-Payment-Id") or "")
            for number, each in enumerate(received, start=1)
        ]


def _route(moment: str) -> dict[str, Any]:
    """The default moment is not said."""
    route = {"match": f"* /{moment}/**", "price": "$0.01"}
    return route if moment == "after" else route | {"settle": moment}


def _works(errand: Errand) -> Callable[[Exchange], Any]:
    """200 after a while, with the number of this very execution in the body."""

    async def answer(exchange: Exchange) -> bool:
        await asyncio.sleep(errand.delay)
        body = json.dumps({"number": exchange.number, "padding": "x" * errand.size}).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        await exchange.send(head.encode() + body)
        return True

    return answer

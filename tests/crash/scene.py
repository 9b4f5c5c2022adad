"""Everything around one gateway: its store, its API, its chain's endpoint, and those who buy."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from crash.armed import ArmedGateway
from crash.audit import Evidence, Execution
from crash.clients import Buyers
from crash.plan import Cycle, Errand
from crash.transfers import mined, transfers_to
from crash.wants import Want
from kit.accounts import new_account
from kit.anvil import Anvil
from kit.faultproxy import FaultProxy
from kit.gateway import plain_config
from kit.redis_server import RedisServer
from kit.upstream import Exchange, Upstream

PAYERS = 6
WEALTH = 10**12
"""Atomic units every payer begins with: nobody runs out."""


class Scene:
    """Set up for one store; ``close`` ends every process of it."""

    def __init__(self, store: str, moments: Sequence[str], anvil: Anvil, folder: Path) -> None:
        self.upstream = Upstream()
        self.rpc = FaultProxy(anvil.url)
        self.redis = RedisServer() if store == "redis" else None
        self._anvil = anvil
        self._payee = new_account()
        self._payers = [new_account() for _ in range(PAYERS)]
        for payer in self._payers:
            anvil.mint(payer.address, WEALTH)
        if self.redis is not None:
            self.redis.start()
        self.upstream.start()
        self.rpc.clear()
        self._config = self._configuration(moments)
        self.gateway = ArmedGateway(self._config, folder=folder)
        self.buyers = Buyers(self.gateway.url, anvil.chain_id, anvil.token, self._proof)

    async def close(self) -> None:
        """Nothing of it goes on."""
        await self.buyers.close()
        self.gateway.end()
        self.upstream.stop()
        self.rpc.refuse()
        if self.redis is not None:
            self.redis.stop()

    def _configuration(self, moments: Sequence[str]) -> dict[str, Any]:
        sender = new_account()
        self._anvil.rpc("anvil_setBalance", sender.address, hex(10**20))
        config = plain_config(
            upstream=self.upstream.url,
            rpc=self.rpc.url,
            pay_to=self._payee.address,
            key=sender.key,
            routes=[_route(moment) for moment in moments],
            store={"url": "embedded" if self.redis is None else self.redis.url},
        )
        # Short times, so that whatever can only be waited for is over soon.
        config["networks"]["localdev"] |= {"settle_within": "10s", "finality": 2}
        config["upstreams"]["api"]["timeout"] = "5s"
        config["rails"]["x402"]["max_timeout"] = "60s"
        return config

    async def start(self, workers: int = 1, crash: str = "") -> bool:
        """The gateway with ``TOLLWAY_CRASH``; False where it died before it was ready."""
        self.gateway.write(self._config | {"server": {"workers": workers}})
        return await self.gateway.launch(crash)

    def want(self, number: int, cycle: Cycle, errand: Errand) -> Want:
        """A new purchase, and the API ready for it."""
        path = f"/{errand.moment}/{f'poll-{cycle.number}' if errand.shared else number}"
        self.upstream.on(path, _works(errand))
        body = b'{"want": %d}' % number if errand.posts else b""
        return Want(number, path, errand, self._payers[errand.payer], body)

    async def evidence(self, wants: Sequence[Want]) -> Evidence:
        """What the ledger, the chain and the API say now."""
        ledger = await self.ledger()
        transfers = await asyncio.to_thread(transfers_to, self._anvil, self._payee.address)
        return Evidence(list(wants), ledger, transfers, self._executions())

    async def ledger(self) -> list[dict[str, Any]]:
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

    async def _proof(self, transaction: str) -> bool:
        return await asyncio.to_thread(mined, self._anvil, transaction)


def _route(moment: str) -> dict[str, Any]:
    """A cent; the default moment is not said."""
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

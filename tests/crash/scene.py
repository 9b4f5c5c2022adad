"""Everything around one gateway: its store, its API, its rail, and those who buy."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from crash.api import MODEL, works
from crash.armed import ArmedGateway
from crash.evidence import Evidence, Execution
from crash.plan import Cycle, Errand
from crash.rail import Rail
from crash.wants import Want
from kit.command import run
from kit.redis_server import RedisServer
from kit.upstream import Upstream


class Scene:
    """Set up for one store; ``close`` ends every process of it."""

    def __init__(self, store: str, moments: Sequence[str], rail: Rail, folder: Path) -> None:
        self.upstream = Upstream()
        self.rail = rail
        self.redis = RedisServer() if store == "redis" else None
        if self.redis is not None:
            self.redis.start()
        self.upstream.start()
        self._config = rail.config(moments) | {
            "upstreams": {"api": {"url": self.upstream.url, "timeout": "5s"}},
            "store": {"url": "embedded" if self.redis is None else self.redis.url},
        }
        self.gateway = ArmedGateway(self._config, folder=folder)
        self.buyers = rail.buyers(self.gateway.url)

    async def close(self) -> None:
        """Nothing of it goes on."""
        await self.buyers.close()
        self.gateway.end()
        self.upstream.stop()
        self.rail.close()
        if self.redis is not None:
            self.redis.stop()

    async def start(self, workers: int = 1, crash: str = "") -> bool:
        """The gateway with ``TOLLWAY_CRASH``; False where it died before it was ready."""
        self.gateway.write(self._config | {"server": {"workers": workers}})
        return await self.gateway.launch(crash)

    def want(self, number: int, cycle: Cycle, errand: Errand) -> Want:
        """A new purchase, and the API ready for it."""
        path = f"/{errand.moment}/{f'poll-{cycle.number}' if errand.shared else number}"
        streamed = self.rail.streams and errand.moment == "deferred"
        self.upstream.on(path, works(errand, streamed=streamed))
        body = _question(number, streamed=streamed) if errand.posts else b""
        return Want(number, path, errand, self.rail.payer(errand.payer), body)

    async def evidence(self, wants: Sequence[Want]) -> Evidence:
        """What the ledger, the money's side and the API say now."""
        ledger = await self.ledger()
        return await asyncio.to_thread(self.rail.evidence, wants, ledger, self._executions())

    async def ledger(self) -> list[dict[str, Any]]:
        """As ``tollway ledger`` prints it."""
        command = ("ledger", "-c", str(self.gateway.config_file), "--format", "jsonl")
        done = await asyncio.to_thread(run, *command)
        if done.returncode:
            raise RuntimeError(f"tollway ledger ended with {done.returncode}: {done.stderr.decode()}")
        return [json.loads(line) for line in done.stdout.splitlines()]

    def _executions(self) -> list[Execution]:
        received = list(self.upstream.received)
        return [
            Execution(number, each.path, each.header("X-Tollway-Payment-Id") or "")
            for number, each in enumerate(received, start=1)
        ]


def _question(number: int, *, streamed: bool) -> bytes:
    said = [{"role": "user", "content": f"want {number}"}]
    return json.dumps({"model": MODEL, "messages": said, "stream": streamed}).encode()

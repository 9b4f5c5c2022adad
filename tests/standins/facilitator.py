"""Somebody else's facilitator for tests: honest by our own local one, hostile on demand.

    with FacilitatorServer(anvil.url) as there:
        there.on("/settle", settled_then(reset), honest)
        ...
        assert there.count("/settle") == 2
        assert there.bodies("/settle")[0] == there.bodies("/settle")[1]

It runs in a thread of its own: usable from tests of either kind. On networks that are not
EVM it keeps a book: a payload pays once, and asked again it gives the first answer.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from aiohttp import web
from kit.anvil import Anvil

from facilitator.base import Due, Outgoing, Purse, Refused, Settled
from facilitator.chain import Chain
from facilitator.http1.client import Client
from facilitator.local import LocalFacilitator
from facilitator.wire import PaymentPayload, PaymentRequirements, read_payment
from gateway.devchain.ports import free_ports

SOLANA = "solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1"
FEE_PAYER = "EwWqGE4ZFKLofuestmU4LDdK7XM1N4ALgdZccwYugwGd"
SUPPORTED: dict[str, Any] = {
    "kinds": [
        {"x402Version": 2, "scheme": "exact", "network": "eip155:84532"},
        {"x402Version": 1, "scheme": "exact", "network": "base-sepolia"},
        {"x402Version": 2, "scheme": "exact", "network": SOLANA, "extra": {"feePayer": FEE_PAYER}},
    ],
    "extensions": [],
    "signers": {},
}
_PATIENCE = 5.0
_CHAIN_IDS = {"base-sepolia": "eip155:84532"}


@dataclass(frozen=True)
class Received:
    """One request: the body byte for byte."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> dict[str, Any]:
        """The body read."""
        found: dict[str, Any] = json.loads(self.body)
        return found


@dataclass(frozen=True)
class Exchange:
    """What an answer works with."""

    received: Received
    request: web.Request
    there: FacilitatorServer


Behaviour = Callable[[Exchange], Awaitable[web.StreamResponse]]
"""Answers one request."""


async def honest(exchange: Exchange) -> web.StreamResponse:
    """The truth, really verified or settled."""
    return web.json_response(await exchange.there.truth(exchange.received))


def say(document: Any, status: int = 200) -> Behaviour:
    """Answers with this object, or these bytes as they are; nothing is done."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()

    async def answer(exchange: Exchange) -> web.StreamResponse:
        return web.Response(body=body, status=status, content_type="application/json")

    return answer


def twisted(**changes: Any) -> Behaviour:
    """Really done; fields of the true answer are changed."""

    async def answer(exchange: Exchange) -> web.StreamResponse:
        return web.json_response(await exchange.there.truth(exchange.received) | changes)

    return answer


def done_then(then: Behaviour) -> Behaviour:
    """Really done, then answered otherwise."""

    async def answer(exchange: Exchange) -> web.StreamResponse:
        await exchange.there.truth(exchange.received)
        return await then(exchange)

    return answer


def slow(seconds: float) -> Behaviour:
    """Honest, after so long."""

    async def answer(exchange: Exchange) -> web.StreamResponse:
        await asyncio.sleep(seconds)
        return await honest(exchange)

    return answer


async def hang(exchange: Exchange) -> web.StreamResponse:
    """Reads the request and never answers."""
    await asyncio.Event().wait()
    raise AssertionError("unreachable")


async def reset(exchange: Exchange) -> web.StreamResponse:
    """The connection is gone."""
    assert exchange.request.transport is not None
    exchange.request.transport.abort()
    return web.Response()


async def redirect(exchange: Exchange) -> web.StreamResponse:
    """To itself, with the method kept: who follows it pays twice."""
    return web.Response(status=307, headers={"Location": exchange.there.url + exchange.received.path})


async def drip(exchange: Exchange) -> web.StreamResponse:
    """A byte now and then."""
    response = web.StreamResponse()
    await response.prepare(exchange.request)
    while True:
        await response.write(b" ")
        await asyncio.sleep(0.02)


HUGE = say(b'{"isValid": true, "success": true, "more": "' + b"x" * (10 * 1024 * 1024) + b'"}')
HTML = say(b"<html><body>Attention required</body></html>")


class _Journal:
    """The facilitator's own, which is nobody's business."""

    def __init__(self) -> None:
        self._recorded: list[Outgoing] = []

    async def record(self, transaction: Outgoing) -> bool:
        self._recorded.append(transaction)
        return True

    async def close(self, transaction: Outgoing) -> None:
        self._recorded.remove(transaction)

    async def open(self, sender: str) -> list[Outgoing]:
        return [each for each in self._recorded if each.sender == sender]

    async def of(self, payment_id: str) -> list[Outgoing]:
        return [each for each in self._recorded if payment_id in each.payment_ids]

    async def known(self, payment_ids: Sequence[str]) -> frozenset[str]:
        return frozenset(payment_ids) & {one for each in self._recorded for one in each.payment_ids}

    def untouched(self, payment_id: str) -> bool:
        return False


class FacilitatorServer:
    """``rpc`` is the chain it settles on; None where only its own book is used. ``key`` pays gas: nobody
    else's while it runs."""

    def __init__(self, rpc: str | None = None, key: str = Anvil.accounts[2].key) -> None:
        self.received: list[Received] = []
        self.supported: Any = SUPPORTED
        self.book: dict[str, str] = {}
        """Of what is not EVM: digest of the payload, transaction."""
        [self._port] = free_ports(1)
        self.url = f"http://127.0.0.1:{self._port}"
        self._rpc = rpc
        self._key = key
        self._scripts: dict[str, list[Behaviour]] = {}
        self._played: dict[str, int] = defaultdict(int)
        self._journal = _Journal()
        self._done: dict[str, str] = {}
        self._turns: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="facilitator", daemon=True)
        self._runner: web.AppRunner | None = None
        self._local: LocalFacilitator | None = None

    def on(self, path: str, *behaviours: Behaviour) -> None:
        """Scripts the answers of a path, the last one for ever; starts their turn anew."""
        self._scripts[path] = list(behaviours)
        self._played[path] = 0

    def count(self, path: str) -> int:
        """How many requests came for a path."""
        return len(self.bodies(path))

    def bodies(self, path: str) -> list[bytes]:
        """What was sent there, in order."""
        return [each.body for each in list(self.received) if each.path == path]

    def down(self) -> None:
        """From now on connections are refused."""
        self._run(self._close())

    def up(self) -> None:
        """At the same address again."""
        self._run(self._open())

    async def truth(self, received: Received) -> dict[str, Any]:
        """What an honest facilitator answers, after having done what it says."""
        document = received.document
        payment, terms = document["paymentPayload"], document["paymentRequirements"]
        if not _caip2(terms["network"]).startswith("eip155:"):
            return self._by_the_book(received.path, payment, terms)
        assert self._local is not None, "no chain"
        payload = read_payment(payment, document["x402Version"])
        requirements = _requirements(terms)
        if received.path == "/verify":
            verdict = await self._local.verify(payload, requirements, Purse(0, _none))
            said = _refused("isValid", "invalidReason", verdict) if isinstance(verdict, Refused) else None
            return said or {"isValid": True, "payer": payload.authorization.sender}
        async with self._turns[payload.authorization.nonce.hex()]:
            return await self._settle(payload, requirements, terms["network"])

    async def _settle(
        self, payload: PaymentPayload, requirements: PaymentRequirements, network: str
    ) -> dict[str, Any]:
        assert self._local is not None
        nonce = payload.authorization.nonce.hex()
        told = {"payer": payload.authorization.sender, "network": network}
        if nonce not in self._done:
            sender = self._local.sender_for(requirements.network, nonce)
            outcome = await self._local.settle(Due(nonce, payload, requirements, 0, sender), self._journal)
            if isinstance(outcome, Refused):
                return _refused("success", "errorReason", outcome) | told | {"transaction": ""}
            if not isinstance(outcome, Settled):
                pending = {"success": False, "errorReason": "settlement_pending"}
                return pending | told | {"transaction": outcome.transaction}
            self._done[nonce] = outcome.transaction
        return {"success": True, "transaction": self._done[nonce], **told}

    def _by_the_book(self, path: str, payment: Any, terms: Any) -> dict[str, Any]:
        if path == "/verify":
            return {"isValid": True, "payer": FEE_PAYER}
        digest = hashlib.sha256(json.dumps(payment["payload"], sort_keys=True).encode()).hexdigest()
        transaction = self.book.setdefault(digest, f"4{digest}"[:64])
        return {"success": True, "transaction": transaction, "network": terms["network"]}

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        received = Received(request.path, dict(request.headers), await request.read())
        self.received.append(received)
        script = self._scripts.get(request.path)
        exchange = Exchange(received, request, self)
        if script:
            turn = min(self._played[request.path], len(script) - 1)
            self._played[request.path] += 1
            return await script[turn](exchange)
        return web.json_response(self.supported) if request.path == "/supported" else await honest(exchange)

    async def _open(self) -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.05)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port, reuse_address=True).start()

    async def _close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _begin(self) -> None:
        if self._rpc is not None:
            self._client = Client()
            chain = Chain(84532, "eip155:84532", (self._rpc,), 1, 64, 10.0, 50)
            self._local = LocalFacilitator([chain], [self._key], self._client)
        await self._open()

    async def _end(self) -> None:
        await self._close()
        if self._local is not None:
            await self._local.close()
            self._client.close()
        hanging = asyncio.all_tasks() - {asyncio.current_task()}
        for task in hanging:
            task.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)

    def _run(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(_PATIENCE)

    def start(self) -> Self:
        """Listens."""
        self._thread.start()
        self._run(self._begin())
        return self

    def stop(self) -> None:
        """Nothing of it goes on."""
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_PATIENCE)
        self._loop.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


async def _none() -> tuple[()]:
    return ()


def _refused(said: str, why: str, refused: Refused) -> dict[str, Any]:
    return {said: False, why: refused.reason}


def _caip2(network: str) -> str:
    return _CHAIN_IDS.get(network, network)


def _requirements(terms: dict[str, Any]) -> PaymentRequirements:
    network = _caip2(terms["network"])
    return PaymentRequirements(
        scheme=terms["scheme"],
        network=network,
        chain_id=int(network.partition(":")[2]),
        v1_network="base-sepolia",
        asset=terms["asset"],
        amount=int(terms.get("amount") or terms["maxAmountRequired"]),
        pay_to=terms["payTo"],
        max_timeout=terms["maxTimeoutSeconds"],
        name=terms["extra"]["name"],
        version=terms["extra"]["version"],
    )

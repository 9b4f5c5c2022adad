"""``tollway demo --rail conxa``: a wallet is connected once, then charged for the tokens of each answer.

CONXA is the stand-in of :mod:`gateway.devconxa`, and no phone scans the code: the demo says so.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import click
import segno
from aiohttp import web

from gateway.demo_chat import chat_api
from gateway.demo_client import Client, shortened, tell
from gateway.demo_stage import app_running, gateway_running
from gateway.devchain.ports import free_ports
from gateway.devconxa.ledger import Charge
from gateway.devconxa.replies import Declined
from gateway.devconxa.service import Service
from gateway.devconxa.standin import application, new_service
from gateway.payer import PaymentFailed, Unreachable

_API_KEY = "pk_test_demo_tollway"
_POCKET_MONEY = 10_000
_LIMIT = 5_000
_CHAT = "/v1/chat/completions"
_CONNECTIONS = "/_tollway/conxa/connections"
_QUESTION: dict[str, Any] = {"model": "demo-1", "messages": [{"role": "user", "content": "Say hello."}]}
_PATIENCE = 10.0
"""Seconds for the charge of a stream, which follows it."""


@dataclass(frozen=True)
class Stage:
    """What is up, by base URLs, and the wallet that pays."""

    conxa: str
    api: str
    gateway: str
    admin: str
    config: Path
    service: Service
    wallet: str

    def balance(self) -> int:
        """The wallet's tokens."""
        with self.service.lock:
            return self.service.ledger.wallets.balance(self.wallet)

    def charges(self) -> list[Charge]:
        """What CONXA charged until now."""
        with self.service.lock:
            return list(self.service.ledger.charges)


async def show(folder: Path, *, once: bool, port: int) -> None:
    """The whole journey; then stays unless ``once``. PaymentFailed and Unreachable if it fails."""
    async with _stage(folder, port) as stage, aiohttp.ClientSession(trust_env=False) as session:
        _introduce(stage)
        try:
            connection = await _journey(Client(session, stage.gateway), stage)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Unreachable(f"the gateway does not answer: {error}") from error
        if not once:
            _invite(stage, connection)
            await asyncio.Event().wait()


async def _journey(client: Client, stage: Stage) -> str:
    await _ask_unpaid(client)
    connection = await _connect(client, stage)
    await _ask_twice(client, stage, connection)
    await _ask_for_a_stream(client, stage, connection)
    _tell_charges(stage)
    return connection


async def _ask_unpaid(client: Client) -> None:
    click.echo("Without a wallet")
    how = (await client.ask("POST", _CHAT, _QUESTION, expected=402)).json()["rails"]["conxa"]
    tell(f"   conxa: {how['charge']['meter']} tokens of the answer, paid with {how['header']}")
    tell(f"   connect a wallet at {how['connect_url']}\n")


async def _connect(client: Client, stage: Stage) -> str:
    """The id of a connection that the wallet has agreed to."""
    click.echo("Connecting a wallet")
    made = (await client.ask("POST", _CONNECTIONS, {"limit": _LIMIT}, expected=201)).json()
    tell(f"   {shortened(made['id'])} is {made['status']}, for {_LIMIT:,} tokens at most; its code says")
    _draw(made["qr_data"])
    tell(f"the scan is simulated: wallet {stage.wallet} of the stand-in reads the code and agrees")
    with stage.service.lock:
        stage.service.ledger.scan(made["qr_data"], stage.wallet)
    status = (await client.ask("GET", f"{_CONNECTIONS}/{made['id']}?wait=30s")).json()
    tell(f"   it is {status['status']}\n")
    return str(made["id"])


def _draw(code: str) -> None:
    """As a picture where somebody may look at it."""
    if sys.stdout.isatty():
        segno.make_qr(code, error="m", boost_error=False).terminal(border=2, compact=True)
    tell(f"   {code}")


async def _ask_twice(client: Client, stage: Stage, connection: str) -> None:
    click.echo("A paid answer")
    headers = {"X-Tollway-Connection": connection, "Idempotency-Key": "demo-purchase-1"}
    before = stage.balance()
    first = await client.ask("POST", _CHAT, _QUESTION, headers)
    tell(f"   X-Conxa-Tokens: {first.headers['x-conxa-tokens']}")
    tell(f"   the wallet had {before:,} tokens, has {stage.balance():,}")
    tell(f"{first.json()['choices'][0]['message']['content']}\n")
    click.echo("The same request with the same key, as after a lost answer")
    again = await client.ask("POST", _CHAT, _QUESTION, headers)
    if again.body != first.body or "idempotent-replayed" not in again.headers:
        raise PaymentFailed("the second answer is not the first one's copy")
    tell(f"   the stored answer, byte for byte; the wallet still has {stage.balance():,}\n")


async def _ask_for_a_stream(client: Client, stage: Stage, connection: str) -> None:
    click.echo("A stream: passed on as it comes, charged when it has ended")
    before, many = stage.balance(), len(stage.charges())
    question = {**_QUESTION, "stream": True}
    begun = False
    async for event in client.stream(_CHAT, question, {"X-Tollway-Connection": connection}):
        click.echo(("" if begun else "  ") + event["choices"][0]["delta"]["content"], nl=False)
        begun = True
    click.echo()
    until = time.monotonic() + _PATIENCE
    while len(stage.charges()) == many:
        if time.monotonic() > until:
            raise PaymentFailed("the stream was not charged")
        await asyncio.sleep(0.02)
    tell(f"   the wallet had {before:,}, has {stage.balance():,}\n")


def _introduce(stage: Stage) -> None:
    click.echo("Tollway: an API that is paid per token from a CONXA wallet\n")
    click.echo(f"  CONXA    {stage.conxa}  a stand-in: its wallets hold no money")
    click.echo(f"  API      {stage.api}  chats as OpenAI's does, knows nothing of payments")
    click.echo(f"  gateway  {stage.gateway}  charges the tokens each answer says it took\n")


def _tell_charges(stage: Stage) -> None:
    click.echo(f"{'What CONXA charged':32} {'input':>8} {'output':>8} {'balance':>10}")
    click.echo(f"  {'at first':30} {'':>8} {'':>8} {_POCKET_MONEY:>10,}")
    for charge in stage.charges():
        tokens = f"{charge.input_tokens:>8,} {charge.output_tokens:>8,}"
        click.echo(f"  {charge.model:30} {tokens} {charge.balance:>10,}")


def _invite(stage: Stage, connection: str) -> None:
    question = '{"model": "demo-1", "messages": [{"role": "user", "content": "Hello!"}]}'
    click.echo("\nTry it")
    click.echo('  with the connection that was made (add "stream": true to see it stream)')
    click.echo(f"    curl -i {stage.gateway}{_CHAT} -H 'Content-Type: application/json' \\")
    click.echo(f"      -H 'X-Tollway-Connection: {connection}' \\\n      -d '{question}'")
    click.echo("  in a browser: connect a wallet, or open something that must be paid")
    click.echo(f"    {stage.gateway}/_tollway/conxa/connect\n    {stage.gateway}/v1/fortune")
    click.echo('  scan the code you see there: copy its text ("Cannot scan it?") into')
    click.echo(f"    curl {stage.conxa}/_standin/wallets/{stage.wallet}/scan -d 'TEXT'")
    click.echo("  what is left, and what was earned")
    click.echo(f"    curl {stage.conxa}/wallet/{stage.wallet}\n    curl {stage.admin}/payments")
    click.echo(f"\nThe gateway's configuration is {stage.config}. Ctrl-C ends everything.")


@asynccontextmanager
async def _stage(folder: Path, port: int) -> AsyncIterator[Stage]:
    """Starts the stand-in, the API and the gateway; on the way out ends them, whatever happened."""
    service = new_service(_API_KEY)
    wallet = service.ledger.wallets.open(_POCKET_MONEY)
    async with AsyncExitStack() as running:
        conxa = await running.enter_async_context(app_running(_standin(service, wallet)))
        api = await running.enter_async_context(app_running(chat_api()))
        [admin_port] = free_ports(1)
        gateway, admin = f"127.0.0.1:{port}", f"127.0.0.1:{admin_port}"
        # This holds the event loop up until the gateway is there; nobody else wants it yet.
        config = running.enter_context(gateway_running(_config(gateway, admin, api, conxa, folder), folder))
        yield Stage(conxa, api, f"http://{gateway}", f"http://{admin}", config, service, wallet)


def _standin(service: Service, wallet: str) -> web.Application:
    """CONXA, and a wallet that takes the text of a code as it is: nobody has to quote JSON in JSON."""

    async def scan(request: web.Request) -> web.Response:
        code = await request.text()
        try:
            with service.lock:
                session = service.ledger.scan(code, wallet)
        except Declined as declined:
            return web.json_response(declined.reply.body, status=declined.reply.status)
        return web.json_response({"connected": session.username, "wallet_id": wallet})

    app = application(service)
    app.router.add_post(f"/_standin/wallets/{wallet}/scan", scan)
    return app


def _config(gateway: str, admin: str, api: str, conxa: str, folder: Path) -> dict[str, Any]:
    chat = {"match": f"POST {_CHAT}", "price": "$0.02", "conxa": {"meter": "openai"}}
    stream = {
        "match": {"method": "POST", "path": _CHAT, "body": {"stream": "true"}},
        "price": "$0.02",
        "settle": "deferred",
        "conxa": {"meter": "openai", "include_usage": True},
    }
    fortune = {
        "match": "GET /v1/fortune",
        "price": "$0.02",
        "description": "A fortune, told once",
        "conxa": {"model": "fortune", "input_tokens": 25},
    }
    return {
        "server": {"listen": gateway, "admin": admin, "public_url": f"http://{gateway}"},
        "store": {"path": str(folder / "data")},
        "upstreams": {"chat": {"url": api}},
        "rails": {"conxa": {"base_url": conxa, "api_key": _API_KEY}},
        "routes": [stream, chat, fortune, {"match": "GET /health", "price": "free"}],
    }

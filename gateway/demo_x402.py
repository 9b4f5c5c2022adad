"""``tollway demo``: a chain, an API that is paid per request over x402, and one purchase."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import click
from aiohttp import web

from gateway.demo_stage import gateway_running
from gateway.devchain.accounts import DEV_ACCOUNTS
from gateway.devchain.anvil import BASE_SEPOLIA, Chain, start_chain
from gateway.devchain.batcher import place_batcher
from gateway.devchain.ports import free_ports
from gateway.devchain.token import TOKEN_ADDRESS, balance, mint, place_token
from gateway.payer import PaymentFailed, Request, purchase

_SETTLER, _PAYER, _SELLER = DEV_ACCOUNTS[:3]
_POCKET_MONEY = 10_000_000
_DECIMALS = 6


@dataclass(frozen=True)
class Stage:
    """What is up: the chain, the gateway's two addresses, and the socket the API will listen on."""

    chain: Chain
    api: socket.socket
    gateway: str
    admin: str
    config: Path


async def show(stage: Stage, *, once: bool) -> None:
    """One purchase; then stays to be tried unless ``once``. PaymentFailed and Unreachable if it fails."""
    api = web.AppRunner(_api(), access_log=None)
    await api.setup()
    try:
        await web.SockSite(api, stage.api).start()
        _introduce(stage)
        await _buy(stage)
        if not once:
            _invite(stage)
            await asyncio.Event().wait()
    finally:
        await api.cleanup()


async def _buy(stage: Stage) -> None:
    before = _balances(stage.chain)
    click.echo("A purchase")
    bought = await purchase(
        Request(f"{stage.gateway}/v1/forecast/lisbon"),
        _PAYER.key,
        lambda line: click.echo(f"  {line}"),
        decimals=lambda network, asset: _DECIMALS if asset.lower() == TOKEN_ADDRESS.lower() else None,
        chain_id=lambda network: BASE_SEPOLIA if network == f"eip155:{BASE_SEPOLIA}" else None,
    )
    if bought.receipt is None or not bought.receipt.success:
        raise PaymentFailed(f"the gateway answered {bought.reply.status} without a receipt")
    click.echo(f"  {bought.reply.body.decode()}\n")
    _tell_balances(before, _balances(stage.chain))


def _introduce(stage: Stage) -> None:
    host, port = stage.api.getsockname()
    click.echo("Tollway: an API that is paid per request\n")
    click.echo(f"  chain    {stage.chain.url}  anvil with a test USDC, chain id {BASE_SEPOLIA}")
    click.echo(f"  API      http://{host}:{port}  knows nothing of payments")
    click.echo(f"  gateway  {stage.gateway}  asks $0.01 for GET /v1/forecast/{{city}}\n")


def _tell_balances(before: dict[str, Decimal], after: dict[str, Decimal]) -> None:
    click.echo(f"{'USDC':50} {'before':>10} {'after':>10}")
    for who, amount in before.items():
        click.echo(f"  {who:48} {amount:>10f} {after[who]:>10f}")


def _invite(stage: Stage) -> None:
    click.echo("\nTry it")
    click.echo(f"  curl -i {stage.gateway}/v1/forecast/oslo   # 402 and how to pay")
    click.echo(f"  curl -i {stage.gateway}/health   # a free route")
    click.echo(f"  TOLLWAY_PAY_KEY={_PAYER.key} \\\n    tollway pay {stage.gateway}/v1/forecast/oslo")
    click.echo(f"  curl {stage.admin}/payments   # what was earned")
    click.echo(f"\nThe gateway's configuration is {stage.config}. Ctrl-C ends everything.")


def _balances(chain: Chain) -> dict[str, Decimal]:
    named = {"payer": _PAYER.address, "seller": _SELLER.address}
    return {
        f"{who:6} {address}": Decimal(balance(chain.rpc, address)).scaleb(-_DECIMALS)
        for who, address in named.items()
    }


def _api() -> web.Application:
    async def forecast(request: web.Request) -> web.Response:
        city = request.match_info["city"]
        return web.json_response({"city": city, "days": ["sun", "sun", "rain", "sun", "wind", "sun", "sun"]})

    async def health(_: web.Request) -> web.Response:
        return web.json_response({"ok": True})

    app = web.Application()
    app.add_routes([web.get("/v1/forecast/{city}", forecast), web.get("/health", health)])
    return app


@contextmanager
def stage(folder: Path, port: int) -> Iterator[Stage]:
    """Starts the chain and the gateway; on the way out ends them, whatever happened."""
    with ExitStack() as running:
        chain = start_chain(BASE_SEPOLIA, block_time=1, extra=("--mixed-mining",))
        running.callback(chain.stop)
        place_token(chain.rpc)
        place_batcher(chain.rpc)
        mint(chain.rpc, _PAYER.address, _POCKET_MONEY)
        api = running.enter_context(socket.create_server(("127.0.0.1", 0)))
        [admin_port] = free_ports(1)
        gateway, admin = f"127.0.0.1:{port}", f"127.0.0.1:{admin_port}"
        config = running.enter_context(gateway_running(_config(gateway, admin, api, chain, folder), folder))
        yield Stage(chain, api, f"http://{gateway}", f"http://{admin}", config)


def _config(gateway: str, admin: str, api: socket.socket, chain: Chain, folder: Path) -> dict[str, Any]:
    host, port = api.getsockname()
    usdc = {"address": TOKEN_ADDRESS, "decimals": _DECIMALS, "name": "USDC", "version": "2"}
    demonet = {
        "chain_id": BASE_SEPOLIA,
        "v1_name": "base-sepolia",
        "rpc": chain.url,
        "assets": {"USDC": usdc},
    }
    facilitator = {"mode": "local", "key": _SETTLER.key}
    x402 = {"pay_to": _SELLER.address, "networks": ["demonet"], "facilitator": facilitator}
    return {
        "server": {"listen": gateway, "admin": admin, "public_url": f"http://{gateway}"},
        "store": {"path": str(folder / "data")},
        "networks": {"demonet": demonet},
        "upstreams": {"weather": {"url": f"http://{host}:{port}"}},
        "rails": {"x402": x402},
        "routes": [
            {"match": "GET /v1/forecast/{city}", "price": "$0.01", "description": "Seven-day forecast"},
            {"match": "GET /health", "price": "free"},
        ],
    }

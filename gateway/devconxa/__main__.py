"""``python -m gateway.devconxa --port 9100 --api-key pk_test_acme_x``: the service alone, until Ctrl-C."""

from __future__ import annotations

import asyncio
import signal

import click

from gateway.devconxa.service import Service
from gateway.devconxa.standin import listening, new_service


@click.command()
@click.option("--port", default=0, show_default="any free one", help="Loopback port to listen on.")
@click.option(
    "--api-key", "api_keys", multiple=True, required=True, help="A provider's key; may be repeated."
)
def main(port: int, api_keys: tuple[str, ...]) -> None:
    """A CONXA service on this machine, with wallets and scans made under /_standin/."""
    try:
        service = new_service(*api_keys)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--api-key") from None
    asyncio.run(_serve(service, port))


async def _serve(service: Service, port: int) -> None:
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    async with listening(service, port) as url:
        click.echo(f"CONXA stand-in listening on {url}")
        await ended.wait()


if __name__ == "__main__":
    main()

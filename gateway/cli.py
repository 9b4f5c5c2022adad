"""The ``tollway`` command: prints, never computes. Heavy imports wait for the command that needs them."""

from __future__ import annotations

import json
import os
import sys
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NoReturn

import click

from gateway import __version__

if TYPE_CHECKING:
    from gateway.ledger import Asked
    from gateway.settings import Settings

RUNTIME, USAGE, CONFIG, UNREACHABLE, REFUSED = 1, 2, 3, 4, 6
"""Exit codes (INTERFACE section 1)."""

config_option = click.option(
    "-c", "--config", "config", required=True, metavar="FILE", help="The configuration, YAML."
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="tollway")
def main() -> None:
    """Tollway: be paid per request for any HTTP API, without changing it."""


@main.command()
def version() -> None:
    """Print the version."""
    click.echo(f"tollway {__version__}")


@main.command()
@click.option(
    "--rail", type=click.Choice(["x402", "conxa"]), default="x402", show_default=True, help="How to pay."
)
@click.option("--once", is_flag=True, help="Exit after the purchase.")
@click.option("--port", default=8402, show_default=True, help="The gateway's port.")
def demo(rail: Literal["x402", "conxa"], once: bool, port: int) -> None:
    """Show a purchase on this machine: API, gateway, payer and what they need, nothing configured."""
    from gateway.demo import run

    sys.exit(run(rail=rail, once=once, port=port))


@main.command()
@click.option("--upstream", metavar="URL", help="The API to put the gateway in front of.")
@click.option("--pay-to", metavar="ADDRESS", help="Who is paid.")
@click.option("--price", default="$0.01", show_default=True, help="For every request.")
@click.option("--network", default="base-sepolia", show_default=True, help="Where.")
@click.option("--rpc", metavar="URL", help="An RPC endpoint of the network, where there is no public one.")
@click.option("--from-env", is_flag=True, help="From X402_PAY_TO_ADDRESS, X402_PRICE, X402_NETWORK ...")
@click.option("--facilitator", metavar="URL", help="Who settles; x402.org's serves test networks only.")
@click.option("-o", "--output", default="gateway.yaml", show_default=True, help="The file; - prints it.")
def init(
    upstream: str | None,
    pay_to: str | None,
    price: str,
    network: str,
    rpc: str | None,
    facilitator: str | None,
    from_env: bool,
    output: str,
) -> None:
    """Write a first configuration."""
    from gateway.starting import Beginning, CannotStart, from_environment

    try:
        if from_env:
            beginning = from_environment(os.environ, upstream)
        elif upstream is None or pay_to is None:
            raise CannotStart("say --upstream URL and --pay-to ADDRESS, or --from-env")
        else:
            beginning = Beginning(upstream, pay_to, price, network, facilitator, rpc)
        text = beginning.text()
    except CannotStart as error:
        _fail(USAGE, str(error))
    if output == "-":
        click.echo(text, nl=False)
        return
    _write_new(Path(output), text)
    _load(output)
    click.echo(f"wrote {output}: tollway check -c {output}", err=True)


@main.command()
@config_option
def serve(config: str) -> None:
    """Run the gateway."""
    settings = _load(config)
    if not settings.sells:
        _fail(CONFIG, f"{config}: routes: is required: there is nothing to serve")
    from gateway.serving import serve as run
    from gateway.workers import AddressInUse

    try:
        code = run(settings, Path(config))
    except AddressInUse as error:
        _fail(RUNTIME, str(error))
    sys.exit(code)


@main.command()
@config_option
def facilitator(config: str) -> None:
    """Serve this machine's facilitator to others: /verify, /settle, /supported, /health."""
    settings = _load(config)
    if settings.facilitator is None:
        _fail(CONFIG, f"{config}: facilitator: is required: it says where others are settled for")
    from gateway.facilitator_process import serve as run
    from gateway.workers import AddressInUse

    try:
        code = run(settings, settings.facilitator)
    except AddressInUse as error:
        _fail(RUNTIME, str(error))
    sys.exit(code)


@main.command()
@config_option
@click.option("--online", is_flag=True, help="Also ask the store, chains, tokens and CONXA.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check(config: str, online: bool, as_json: bool) -> None:
    """Validate a configuration without starting anything."""
    settings = _load(config)
    from gateway.check import route_rows

    rows = route_rows(settings)
    problems: list[str] = []
    if online:
        import asyncio

        from gateway.online import findings

        problems = asyncio.run(findings(settings))
    warnings = list(settings.warnings)
    if as_json:
        click.echo(json.dumps({"routes": rows, "warnings": warnings, "problems": problems}, indent=2))
    else:
        _print_table(("route", "rails", "price", "upstream"), rows)
        for line in warnings:
            click.echo(f"warning: {line}", err=True)
        for line in problems:
            click.echo(f"problem: {line}", err=True)
    sys.exit(UNREACHABLE if problems else 0)


@main.command()
@config_option
@click.argument("method")
@click.argument("path")
def quote(config: str, method: str, path: str) -> None:
    """Say which route a request takes, what it costs on each rail, and why."""
    settings = _load(config)
    from gateway.check import quote as explain

    for line in explain(settings, method, path).lines():
        click.echo(line)


@main.command()
@click.argument("url")
@click.option("--method", default=None, help="GET, or POST where there is data.")
@click.option("--data", default=None, help="The request body; @FILE reads a file.")
@click.option("--header", "header_lines", multiple=True, metavar="'NAME: VALUE'", help="May be repeated.")
@click.option("--key-env", default="TOLLWAY_PAY_KEY", show_default=True, help="Where the private key is.")
@click.option("--max-amount", default="$1", show_default=True, help="The most to pay.")
@click.option("--dry-run", is_flag=True, help="Decode the challenge and stop.")
def pay(
    url: str,
    method: str | None,
    data: str | None,
    header_lines: tuple[str, ...],
    key_env: str,
    max_amount: str,
    dry_run: bool,
) -> None:
    """Buy one answer over x402 and show every leg."""
    from gateway.payer import headers_of, private_key
    from gateway.paying import buy

    key = None if dry_run else os.environ.get(key_env)
    try:
        if not dry_run:
            private_key(key or "")
        headers = headers_of(header_lines)
        limit = _limit(max_amount)
    except ValueError as error:
        _fail(USAGE, f"{error}" if key or dry_run else f"{error} in the environment variable {key_env}")
    body = _data(data)
    wanted = method or ("GET" if body is None else "POST")
    sys.exit(buy(url, wanted, body, headers, key, limit))


@main.command()
@config_option
@click.option("--since", metavar="WHEN", help="Claimed then or later: 2026-03-01, 2026-03-01T12:00:00Z, 24h.")
@click.option("--until", metavar="WHEN", help="Claimed before then.")
@click.option("--state", metavar="STATE", help="settled, refund_due, unknown, orphan ...")
@click.option("--route", metavar="NAME", help="A route's name.")
@click.option("--format", "form", type=click.Choice(["table", "csv", "jsonl"]), default="table")
def ledger(
    config: str, since: str | None, until: str | None, state: str | None, route: str | None, form: str
) -> None:
    """Payments as recorded, newest first."""
    import asyncio
    from datetime import UTC, datetime

    from gateway.errors import StoreUnavailable, StoreUnfit
    from gateway.ledger import asked

    try:
        wanted = asked(since, until, state, route, datetime.now(UTC))
    except ValueError as error:
        _fail(USAGE, str(error))
    settings = _load(config)
    try:
        asyncio.run(_print_ledger(settings, wanted, form))
    except (StoreUnavailable, StoreUnfit) as error:
        _fail(UNREACHABLE, str(error))


async def _print_ledger(settings: Settings, wanted: Asked, form: str) -> None:
    """Line by line, except a table: its columns are as wide as their widest cell."""
    from gateway.ledger import COLUMNS, TABLE, csv_cells, csv_line, entries, json_line, table_row

    found = entries(settings, wanted)
    if form == "table":
        _print_table(TABLE, [table_row(entry) async for entry in found])
        return
    if form == "csv":
        click.echo(csv_line(COLUMNS), nl=False)
    async for entry in found:
        click.echo(json_line(entry) + "\n" if form == "jsonl" else csv_line(csv_cells(entry)), nl=False)


@main.command()
@click.option("-c", "--config", "config", default=None, metavar="FILE", help="Where server.admin is set.")
def healthcheck(config: str | None) -> None:
    """Ask the admin listener whether the gateway runs: exit 0 or 1."""
    from gateway.healthcheck import check as alive

    try:
        running = alive(config)
    except (OSError, ValueError) as error:
        _fail(RUNTIME, str(error))
    sys.exit(0 if running else RUNTIME)


def _write_new(file: Path, text: str) -> None:
    """Never over what is there."""
    try:
        with file.open("x") as stream:
            stream.write(text)
    except OSError as error:
        _fail(RUNTIME, f"{file}: {error.strerror}")


def _load(config: str) -> Settings:
    from gateway.errors import ConfigError
    from gateway.settings import load

    try:
        return load(Path(config), os.environ)
    except ConfigError as error:
        for line in error.problems:
            click.echo(line, err=True)
        sys.exit(CONFIG)


def _limit(amount: str) -> Decimal:
    try:
        limit = Decimal(amount.removeprefix("$"))
    except InvalidOperation as error:
        raise ValueError(f"not an amount: {amount}") from error
    if not limit.is_finite() or limit < 0:
        raise ValueError(f"not an amount: {amount}")
    return limit


def _data(data: str | None) -> bytes | None:
    if data is None:
        return None
    if not data.startswith("@"):
        return data.encode()
    try:
        return Path(data[1:]).read_bytes()
    except OSError as error:
        _fail(USAGE, f"{data[1:]}: {error.strerror}")


def _print_table(titles: tuple[str, ...], rows: list[dict[str, str]]) -> None:
    """A table on a terminal, tab-separated lines in a pipe."""
    cells = [titles, *(tuple(str(row[title]) for title in titles) for row in rows)]
    if not sys.stdout.isatty():
        for row in cells:
            click.echo("\t".join(row))
        return
    widths = [max(len(row[column]) for row in cells) for column in range(len(titles))]
    for row in cells:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _fail(code: int, message: str) -> NoReturn:
    click.echo(f"tollway: {message}", err=True)
    sys.exit(code)

"""``tollway demo``: an API, the gateway and a purchase on this machine, nothing configured."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Literal

import click

from gateway import demo_conxa, demo_x402
from gateway.demo_stage import hangup_is_interrupt
from gateway.devchain.children import ChildFailed
from gateway.devchain.tools import ToolMissing
from gateway.payer import PaymentFailed, Unreachable

OK, FAILED, UNREACHABLE = 0, 1, 4
_LOG_LINES = 8


def run(*, rail: Literal["x402", "conxa"], once: bool, port: int) -> int:
    """Shows one way to pay; stays until Ctrl-C unless ``once``. Returns the exit code."""
    try:
        with (
            hangup_is_interrupt(),
            tempfile.TemporaryDirectory(prefix="tollway-demo-") as folder,
        ):
            _show(rail, Path(folder), once, port)
    except KeyboardInterrupt:
        click.echo("\nstopped")
    except ToolMissing as error:
        click.echo(f"tollway: {error}", err=True)
        return UNREACHABLE
    except ChildFailed as error:
        tail = "\n".join(error.output.strip().splitlines()[-_LOG_LINES:])
        click.echo(f"tollway: the gateway did not start\n{tail}", err=True)
        return FAILED
    except (PaymentFailed, Unreachable) as error:
        click.echo(f"tollway: not bought: {error}", err=True)
        return FAILED
    return OK


def _show(rail: Literal["x402", "conxa"], folder: Path, once: bool, port: int) -> None:
    if rail == "conxa":
        asyncio.run(demo_conxa.show(folder, once=once, port=port))
        return
    with demo_x402.stage(folder, port) as there:
        asyncio.run(demo_x402.show(there, once=once))

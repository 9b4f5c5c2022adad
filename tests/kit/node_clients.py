"""The official JavaScript clients of both generations, each installed once and run as a program."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from gateway.devchain.node import NPM_INSTALL, Node, find_node
from gateway.devchain.tools import installed, run_installer
from kit.answers import Answer, PurchaseFailed

_PROJECTS = Path(__file__).resolve().parents[1] / "clients"
_TIMEOUT = 60


def buy_v2(
    url: str, key: str, method: str = "GET", body: str = "", headers: Mapping[str, str] | None = None
) -> Answer:
    """Buys with npm @x402/fetch (v2)."""
    return _buy("v2", url, key, method, body, headers or {})


def buy_v1(
    url: str, key: str, method: str = "GET", body: str = "", headers: Mapping[str, str] | None = None
) -> Answer:
    """Buys with npm x402-fetch (v1), whose price cap is $0.10 and whose network is base-sepolia."""
    return _buy("v1", url, key, method, body, headers or {})


def install_clients() -> None:
    """Installs all now rather than when they are first used."""
    for generation in ("v1", "v2", "express"):
        installed_project(generation, find_node())


def _buy(generation: str, url: str, key: str, method: str, body: str, headers: Mapping[str, str]) -> Answer:
    node = find_node()
    script = installed_project(generation, node) / "buy.mjs"
    argv = [node.node, str(script), url, key, method, body, json.dumps(dict(headers))]
    done = subprocess.run(argv, env=node.env, capture_output=True, timeout=_TIMEOUT, check=False)
    if done.returncode != 0:
        raise PurchaseFailed(done.stderr.decode(errors="replace"))
    said = json.loads(done.stdout)
    if "error" in said:
        raise PurchaseFailed(f"{said['error']} ({said.get('cause') or 'no cause given'})")
    return Answer(said["status"], said["headers"], base64.b64decode(said["bodyBase64"]))


def installed_project(generation: str, node: Node) -> Path:
    """The folder of a program under ``tests/clients``, with what it needs."""
    source = _PROJECTS / generation

    def build(target: Path) -> None:
        shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("node_modules"))
        argv = [*node.npm, *NPM_INSTALL, "--prefix", str(target)]
        run_installer(f"the x402 {generation} client", argv, node.env)

    return installed(f"client-{generation}-{_fingerprint(source)}", build)


def _fingerprint(source: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(source.rglob("*")):
        if path.is_file() and "node_modules" not in path.parts:
            digest.update(path.relative_to(source).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]

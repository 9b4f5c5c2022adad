"""node servers: plain proxies and the official middlewares, installed once into ``.tools``."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from bench.servers import Server, running
from bench.session import local_url

from gateway.devchain.node import NPM_INSTALL, find_node
from gateway.devchain.tools import installed, run_installer

_SOURCE = Path(__file__).resolve().parents[1] / "node"


@contextmanager
def node_proxy(name: str, upstream: str) -> Iterator[Server]:
    """``http-proxy``, or ``express`` with http-proxy-middleware."""
    with node_server(name, upstream) as server:
        yield server


@contextmanager
def node_server(script: str, *arguments: str) -> Iterator[Server]:
    """``node/SCRIPT.mjs PORT ARGUMENTS...`` as it would run in production."""
    node, url = find_node(), local_url()
    argv = [node.node, str(_folder() / f"{script}.mjs"), str(urlsplit(url).port), *arguments]
    with running(argv, url, env={**node.env, "NODE_ENV": "production"}) as server:
        yield server


def versions() -> dict[str, str]:
    """What is measured, by package."""
    asked: dict[str, str] = json.loads((_SOURCE / "package.json").read_text())["dependencies"]
    return asked


@cache
def _folder() -> Path:
    node = find_node()

    def build(target: Path) -> None:
        shutil.copytree(_SOURCE, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("node_modules"))
        run_installer("the node peers", [*node.npm, *NPM_INSTALL, "--prefix", str(target)], node.env)

    return installed(f"bench-node-{_fingerprint()}", build)


def _fingerprint() -> str:
    digest = hashlib.sha256()
    for path in sorted(_SOURCE.glob("*.*")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]

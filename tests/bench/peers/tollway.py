"""Tollway itself, from any checkout: ``tollway serve`` with a configuration."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from bench.cores import SERVERS
from bench.plan import Tree
from bench.servers import Server, running

from gateway.devchain.ports import free_ports

PAY_TO = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
PRICED = "/v1/1k"
FREE = "/free"
Config = dict[str, Any]


def free_config(upstream: str) -> Config:
    """A gateway that charges nothing."""
    return {"upstreams": {"api": {"url": upstream}}, "routes": [{"match": "* /**", "price": "free"}]}


def paid_config(
    upstream: str,
    rpc: str,
    facilitator: Mapping[str, Any],
    *,
    settle: str = "after",
    store: str = "embedded",
    workers: int = 1,
    x402: Mapping[str, Any] | None = None,
) -> Config:
    """``/v1/...`` costs a cent in test USDC; no cap on what is served ahead of its settlement."""
    rail = {"pay_to": PAY_TO, "networks": ["localdev"], "facilitator": dict(facilitator), **(x402 or {})}
    route = {"match": "* /v1/**", "price": "$0.01", "settle": settle}
    if settle == "deferred":
        route["exposure"] = {"per_payer": "$1000000", "total": "$1000000"}
    return {
        "server": {"workers": workers},
        "store": {} if store == "embedded" else {"url": store},
        "networks": {"localdev": {"chain_id": 84532, "v1_name": "base-sepolia", "rpc": rpc}},
        "upstreams": {"api": {"url": upstream}},
        "rails": {"x402": rail},
        "routes": [route, {"match": "* /free/**", "price": "free"}],
    }


@contextmanager
def tollway(
    tree: Tree, config: Config, *, probe: str = "/", beside: Mapping[str, int] | None = None
) -> Iterator[Server]:
    """It serves until the end; its log lines go to /dev/null, its data and all it held is removed."""
    with TemporaryDirectory(prefix="tollway-bench-") as folder:
        public, admin = free_ports(2)
        file = Path(folder, "gateway.yaml")
        file.write_text(yaml.safe_dump(_completed(config, public, admin, folder), sort_keys=False))
        workers = config.get("server", {}).get("workers", 1)
        argv = [sys.executable, "-P", "-m", "gateway", "serve", "-c", str(file)]
        url = f"http://127.0.0.1:{public}"
        with running(
            argv, url, env=environment(tree), cores=SERVERS[workers], probe=probe, quiet=True
        ) as server:
            server.admin = f"http://127.0.0.1:{admin}"
            server.beside.update(beside or {})
            yield server


def takes(tree: Tree, config: Config) -> bool:
    """Whether this checkout knows every key of a configuration."""
    with TemporaryDirectory(prefix="tollway-bench-") as folder:
        file = Path(folder, "gateway.yaml")
        file.write_text(yaml.safe_dump(config, sort_keys=False))
        argv = [sys.executable, "-P", "-m", "gateway", "check", "-c", str(file)]
        done = subprocess.run(argv, env=environment(tree), capture_output=True, check=False)
        return done.returncode == 0


def environment(tree: Tree) -> dict[str, str]:
    """In which ``gateway`` is that checkout's."""
    return {**os.environ, "PYTHONPATH": str(tree.path)}


def _completed(config: Config, public: int, admin: int, folder: str) -> Config:
    server = {
        "listen": f"127.0.0.1:{public}",
        "admin": f"127.0.0.1:{admin}",
        "public_url": f"http://127.0.0.1:{public}",
    }
    store = dict(config.get("store", {}))
    store.setdefault("path", f"{folder}/data")
    return {**config, "server": {**server, **config.get("server", {})}, "store": store}

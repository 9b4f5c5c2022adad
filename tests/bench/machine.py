"""What was measured on what: the machine, the versions, the commits."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bench import tools
from bench.cores import APART, LOAD, SERVER, SHARED
from bench.load import Loader
from bench.peers.node import versions as node_versions
from bench.plan import Options
from kit.redis_server import binary as redis_binary

from gateway.devchain.anvil import find_anvil
from gateway.devchain.node import find_node
from gateway.devchain.tools import ToolMissing

_PACKAGES = (
    *("aiohttp", "uvloop", "httptools", "coincurve", "hiredis", "eth-account", "web3", "x402"),
    *("fastapi", "starlette", "httpx", "uvicorn", "flask", "gunicorn"),
)


def about(options: Options) -> dict[str, Any]:
    """All that a figure depends on."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": {tree.name: _commit(tree.path) for tree in options.trees},
        "rounds": options.rounds,
        "seconds": options.seconds,
        "loader": Loader(options.own_loader).name,
        "machine": _machine(),
        "versions": _programs() | _packages() | node_versions(),
    }


def _machine() -> dict[str, Any]:
    processor = re.search(r"^model name\s*: (.*)$", _text("/proc/cpuinfo"), re.MULTILINE)
    memory = re.search(r"^MemTotal: *(\d+)", _text("/proc/meminfo"), re.MULTILINE)
    return {
        "processor": processor[1] if processor else platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": round(int(memory[1]) / 1024**2, 1) if memory else None,
        "kernel": platform.release(),
        "server_cores": sorted(SERVER),
        "load_cores": sorted(LOAD),
        "apart": APART,
        "workers_share": SHARED,
        "load_average_before": round(os.getloadavg()[0], 2),
    }


def _programs() -> dict[str, str]:
    found = {"Python": platform.python_version()}
    asked = {
        "nginx": (tools.find("nginx"), "-v"),
        "wrk": (tools.find("wrk"), "-v"),
        "node": (_or_none(lambda: find_node().node), "-v"),
        "anvil": (_or_none(find_anvil), "--version"),
        "redis-server": (_or_none(redis_binary), "--version"),
    }
    for name, (program, option) in asked.items():
        found[name] = _said(program, option) if program else "none"
    return found


def _or_none(find: Any) -> str | None:
    try:
        return str(find())
    except ToolMissing as missing:
        sys.stderr.write(f"{missing}\n")
        return None


def _packages() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _said(program: str, option: str) -> str:
    env = {**os.environ, "LD_LIBRARY_PATH": tools.library_path()}
    done = subprocess.run([program, option], env=env, capture_output=True, text=True, check=False)
    found = re.search(r"\d+\.\d+(\.\d+)?", done.stdout + done.stderr)
    return found[0] if found else "unknown"


def _commit(folder: Path) -> str:
    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=False)
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", "gateway", "facilitator", "policies")
    return git("rev-parse", "--short=12", "HEAD") + (" with changes" if changed else "")


def _text(path: str) -> str:
    return Path(path).read_text()

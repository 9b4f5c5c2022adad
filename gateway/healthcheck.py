"""Asks the admin listener whether the process runs. Standard library only: it starts every few seconds."""

from __future__ import annotations

import os
import re
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

DEFAULT = "127.0.0.1:8403"
_ADMIN = re.compile(r"""^[ ]+admin:[ ]*["']?([^"'#\s]+)""", re.MULTILINE)
_VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")


def admin_address(config: Path | None, environ: Mapping[str, str]) -> str:
    """``server.admin`` of a configuration file, read without a YAML parser; the default without one."""
    if config is None:
        return DEFAULT
    found = _ADMIN.search(config.read_text(encoding="utf-8"))
    if found is None:
        return DEFAULT
    return _VARIABLE.sub(lambda match: environ.get(match[1], match[2] or ""), found[1])


def alive(address: str, timeout: float = 2.0) -> bool:
    """Whether ``/livez`` answers 200 within ``timeout`` seconds; a wildcard address is asked on loopback."""
    host, _, port = address.rpartition(":")
    host = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]", "": "127.0.0.1"}.get(host, host)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://{host}:{port}/livez", timeout=timeout) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError, ValueError):
        return False


def check(config: str | None) -> bool:
    """The whole command."""
    return alive(admin_address(Path(config) if config else None, os.environ))

"""Asks the admin listener whether the process runs. Standard library only: it starts every few seconds."""

from __future__ import annotations

import http.client
import os
import re
from collections.abc import Mapping
from pathlib import Path

DEFAULT = "127.0.0.1:8403"
_COMMENT = re.compile(r"^\s*#.*$", re.MULTILINE)
_SERVER = re.compile(r"""^["']?server["']?:(.*?)(?=^[^\s}]|\Z)""", re.MULTILINE | re.DOTALL)
_ADMIN = re.compile(r"""(?:^|[\s{,])["']?admin["']?\s*:\s*["']?((?:\$\{[^}]*\}|[^"'#\s,{}])+)""")
_VARIABLE = re.compile(r"\$\{(?:file:([^}]+)|(\w+)(?::[-?]([^}]*))?)\}")
_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}


def admin_address(config: Path | None, environ: Mapping[str, str]) -> str:
    """``server.admin`` of a configuration file, read without a YAML parser; the default without one.

    OSError and ValueError for a file that cannot be read.
    """
    if config is None:
        return DEFAULT
    server = _SERVER.search(_COMMENT.sub("", config.read_text(encoding="utf-8")))
    found = _ADMIN.search(server[1]) if server else None
    return _VARIABLE.sub(lambda match: _value(match, environ), found[1]) if found else DEFAULT


def _value(variable: re.Match[str], environ: Mapping[str, str]) -> str:
    file, name, default = variable.groups()
    return Path(file).read_text().strip() if file else environ.get(name) or default or ""


def alive(address: str, timeout: float = 2.0) -> bool:
    """Whether ``/livez`` answers 200 within ``timeout`` seconds; a wildcard address is asked on loopback."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    connection = http.client.HTTPConnection(_LOOPBACK.get(host, host), int(port), timeout=timeout)
    try:
        connection.request("GET", "/livez")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def check(config: str | None) -> bool:
    """The whole command. OSError and ValueError where there is no address to ask."""
    address = admin_address(Path(config) if config else None, os.environ)
    if not re.fullmatch(r".*:[0-9]{1,5}", address):
        raise ValueError(f"server.admin is {address!r}: there is no listener to ask")
    return alive(address)

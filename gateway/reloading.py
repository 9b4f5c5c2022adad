"""What of a changed configuration a running gateway can take: routes and upstreams, at once or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from gateway.errors import ConfigError
from gateway.settings import Settings, load


def reloaded(running: Settings, path: Path, environ: Mapping[str, str]) -> tuple[Settings, list[str]]:
    """The settings to go on with, and the sections that changed and wait for a restart.

    ConfigError when the file is invalid, or when its routes were written for rails that do not run.
    Upstreams that are gone from the file stay known: requests under way still need them.
    """
    read = load(path, environ)
    if read.rails != running.rails:
        raise ConfigError([f"{path}: rails: changed; nothing is applied until a restart"])
    waiting = [name for name in ("server", "store") if getattr(read, name) != getattr(running, name)]
    upstreams = {**running.upstreams, **read.upstreams}
    return replace(running, table=read.table, upstreams=upstreams, warnings=read.warnings), waiting

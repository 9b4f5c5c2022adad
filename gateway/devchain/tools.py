"""Programs this package needs and a machine may lack: where they live, and how they get there.

An installation is built in a temporary folder and renamed into place, under a lock: half an installation is
never seen, and processes that want the same tool at once wait for the first one.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from gateway.errors import TollwayError

_SOURCE_ROOT = Path(__file__).resolve().parents[2]
_LAST_LINES = 4


class ToolMissing(TollwayError):
    """A program is neither on this machine nor could it be installed; the message says what to do."""


def tools_dir() -> Path:
    """``.tools`` of the checkout this code runs from, else the user's cache."""
    if (_SOURCE_ROOT / "pyproject.toml").is_file():
        return _SOURCE_ROOT / ".tools"
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "tollway"


def installed(name: str, build: Callable[[Path], None]) -> Path:
    """The folder of tool ``name``; ``build`` fills it the first time it is asked for."""
    target = tools_dir() / name
    if target.is_dir():
        return target
    with _locked(tools_dir() / f"{name}.lock"):
        if not target.is_dir():
            _build_aside(target, build)
    return target


def run_installer(what: str, argv: Sequence[str], env: Mapping[str, str] | None = None) -> None:
    """Runs an installer with one progress line on stderr; its output is shown only when it fails."""
    sys.stderr.write(f"tollway: installing {what} (once) ...\n")
    done = subprocess.run(
        argv, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    if done.returncode != 0:
        said = done.stdout.decode(errors="replace").strip().splitlines()[-_LAST_LINES:]
        told = "".join(f"\n  {line}" for line in said)
        raise ToolMissing(f"{what} could not be installed; is the network reachable?{told}")


def _build_aside(target: Path, build: Callable[[Path], None]) -> None:
    with tempfile.TemporaryDirectory(prefix=f"{target.name}.", dir=target.parent) as scratch:
        building = Path(scratch) / "tool"
        building.mkdir()
        build(building)
        building.rename(target)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield

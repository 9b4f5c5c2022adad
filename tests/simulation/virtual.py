"""Puts the gateway's modules on virtual time, and takes from them what is for people or for machines."""

from __future__ import annotations

import gc
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import facilitator.exact_evm
import facilitator.local
import gateway.deliveries
import gateway.presence
import gateway.rails.x402
import gateway.render
import gateway.settlement
import gateway.watch
from simulation.loop import VirtualLoop, here

_OURS = ("gateway.", "facilitator.", "policies.")


class Clock:
    """The clock of the history that is running."""

    loop: VirtualLoop

    def unix(self) -> float:
        """``time.time``."""
        return self.loop.unix()

    def monotonic(self) -> float:
        """``time.monotonic``."""
        return self.loop.time()


CLOCK = Clock()
_TIME = SimpleNamespace(time=CLOCK.unix, monotonic=CLOCK.monotonic, perf_counter=CLOCK.monotonic)


class _Quiet:
    """A logger nobody reads."""

    def __getattr__(self, name: str) -> Any:
        return self

    def __call__(self, *args: Any, **fields: Any) -> None:
        """Nothing."""


@contextmanager
def _quiet() -> Iterator[None]:
    """What killed processes had open ends without a word, as the kernel would end it."""
    before, sys.unraisablehook = sys.unraisablehook, lambda _: None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            yield
            gc.collect()
    finally:
        sys.unraisablehook = before


def _process() -> str:
    domain = here()
    assert domain is not None
    return domain.name


def _gone(process: str) -> bool:
    return process not in RUNNING


def _here(process: str) -> bool:
    return process in RUNNING


RUNNING: set[str] = set()
"""The gateway processes of this history that have not ended, by their domains' names."""

SLOWER = 1.0
"""Seconds between looks at the queue and batches of marks: fewer than in earnest, for looking in vain
costs real time; what is looked for may wait longer here."""


@contextmanager
def virtual() -> Iterator[None]:
    """Inside, every gateway made here lives in virtual time."""
    undo: list[tuple[Any, str, Any]] = []

    def put(where: Any, name: str, what: Any) -> None:
        undo.append((where, name, getattr(where, name)))
        setattr(where, name, what)

    for name, module in list(sys.modules.items()):
        if name.startswith(_OURS):
            if getattr(module, "time", None) is time:
                put(module, "time", _TIME)
            if hasattr(module, "log") and hasattr(module.log, "warning"):
                put(module, "log", _Quiet())
    recover = lru_cache(maxsize=1 << 16)(facilitator.exact_evm.recover)
    put(facilitator.exact_evm, "recover", recover)
    put(gateway.rails.x402, "recover", recover)
    put(gateway.render, "line", _Quiet())
    put(gateway.settlement, "line", _Quiet())
    put(gateway.presence, "this_process", _process)
    put(gateway.presence, "gone", _gone)
    put(gateway.presence, "here", _here)
    put(gateway.settlement, "POLL", SLOWER)
    put(gateway.settlement, "PAUSE", SLOWER)
    put(gateway.deliveries, "BATCH", SLOWER)
    put(gateway.watch, "INTERVAL", 2 * SLOWER)
    try:
        with _quiet():
            yield
    finally:
        for where, name, what in reversed(undo):
            setattr(where, name, what)

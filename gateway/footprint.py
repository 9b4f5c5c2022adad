"""How a process keeps its memory: what costs time with every request is set once, at its start."""

from __future__ import annotations

import ctypes
import gc

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""mallopt(3)."""
_KEPT = 8 * 1024 * 1024
"""Bytes at the top of the heap that are not given back."""
_LARGE = 1024 * 1024
"""Bytes from which a block is a mapping of its own: above the pieces in which bodies pass."""


def settle_in() -> None:
    """Set both; call it once everything is built that lives as long as the process."""
    _spare_collector()
    _spare_allocator()


def _spare_collector() -> None:
    """Keep what lives as long as the process out of the garbage collector's rounds, and make those rarer:
    a request leaves hardly any cycles, and looking for them took a quarter of its time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)


def _spare_allocator() -> None:
    """Have glibc keep what a large answer took for the next: giving pages back and taking them again took
    a sixth of the time in which a megabyte passes. Other C libraries do as they do."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGE)
        mallopt(_M_TRIM_THRESHOLD, _KEPT)

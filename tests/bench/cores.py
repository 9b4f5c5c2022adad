"""Who runs on which core."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

_ALL = sorted(os.sched_getaffinity(0))
SERVER = frozenset(_ALL[:1])
"""The one core of what is measured."""
LOAD = frozenset(_ALL[1:2] or _ALL)
"""The core of load, upstream, stubs, chain and Redis."""
APART = len(_ALL) >= 2
SERVERS = {1: SERVER, 2: frozenset(_ALL[:1] + _ALL[2:3]) if len(_ALL) >= 3 else frozenset(_ALL[:2])}
"""The cores of a server with that many workers; two workers share with the load where there are but two."""
SHARED = len(_ALL) < 3
"""Whether two workers have to share a core with the load."""


@contextmanager
def pinned(cores: frozenset[int]) -> Iterator[None]:
    """What is started in here runs there: children inherit it from this thread."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)

"""Which store the settings ask for; only that one's modules are imported."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from gateway.settings import Settings
from gateway.store import Store
from gateway.store.record import Limits, milliseconds

Durability = Literal["strict", "accept_loss"]


def store_of(settings: Settings) -> Store:
    """The store of a configuration, not yet open."""
    store = settings.store
    return open_store(
        store.url, store.path, store.replay_window, store.max_answer, store.max_answers, store.durability
    )


def open_store(
    url: str,
    path: str | Path,
    replay_window: float,
    max_answer: int,
    max_answers: int,
    durability: Durability = "strict",
) -> Store:
    """A store that is not yet open: ``await store.open()`` connects and checks.

    ``url``: ``embedded`` (then ``path`` is the directory), ``redis://``, ``rediss://``,
    ``unix://`` or ``redis+sentinel://`` (StoreUnfit for any other). ``replay_window`` in
    seconds, sizes in bytes.
    """
    limits = Limits(milliseconds(replay_window), max_answer, max_answers)
    if url == "embedded":
        from gateway.store.sqlite import SqliteStore

        return SqliteStore(Path(path), limits)
    from gateway.store.redis import RedisStore

    return RedisStore(url, limits, strict=durability == "strict")

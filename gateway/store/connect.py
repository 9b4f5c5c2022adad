"""Which store the settings ask for; only that one's modules are imported."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from gateway.settings import Settings
from gateway.store import Store
from gateway.store.record import Limits, milliseconds

Durability = Literal["strict", "accept_loss"]

RELEASED = 300.0
"""Seconds an abandoned claim is remembered where no rail says how long an authorization is good."""


def store_of(settings: Settings) -> Store:
    """The store of a configuration, not yet open."""
    store, x402 = settings.store, settings.rails.x402
    return open_store(
        store.url,
        store.path,
        store.replay_window,
        store.max_answer,
        store.max_answers,
        store.durability,
        redeem_window=store.redeem_window,
        released=RELEASED if x402 is None else x402.max_timeout,
        wait_replicas=store.wait_replicas,
    )


def open_store(
    url: str,
    path: str | Path,
    replay_window: float,
    max_answer: int,
    max_answers: int,
    durability: Durability = "strict",
    *,
    redeem_window: float = 900.0,
    released: float = RELEASED,
    wait_replicas: int = 0,
) -> Store:
    """A store that is not yet open: ``await store.open()`` connects and checks.

    ``url``: ``embedded`` (then ``path`` is the directory), ``redis://``, ``rediss://``,
    ``unix://`` or ``redis+sentinel://`` (StoreUnfit for any other). Windows and ``released`` in
    seconds, sizes in bytes; ``wait_replicas``: how many replicas of a Redis must have each write.
    """
    limits = Limits(
        milliseconds(replay_window),
        milliseconds(redeem_window),
        milliseconds(released),
        max_answer,
        max_answers,
    )
    if url == "embedded":
        from gateway.store.sqlite import SqliteStore

        return SqliteStore(Path(path), limits)
    from gateway.store.redis import RedisStore

    return RedisStore(url, limits, strict=durability == "strict", wait_replicas=wait_replicas)

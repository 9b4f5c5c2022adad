"""The scenarios, in the order they run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bench.scenarios import (
    challenge,
    free,
    local,
    memory,
    moments,
    offline,
    onchain,
    paid,
    settling,
    soak,
    storage,
)
from bench.session import Session


@dataclass(frozen=True)
class Scenario:
    """``usual``: part of a run that asks for nothing in particular."""

    run: Callable[[Session], None]
    usual: bool = True


SCENARIOS: Mapping[str, Scenario] = {
    free.NAME: Scenario(free.run),
    challenge.NAME: Scenario(challenge.run),
    paid.NAME: Scenario(paid.run),
    local.NAME: Scenario(local.run),
    onchain.NAME: Scenario(onchain.run),
    settling.NAME: Scenario(settling.run),
    offline.NAME: Scenario(offline.run),
    moments.NAME: Scenario(moments.run),
    memory.NAME: Scenario(memory.run),
    storage.NAME: Scenario(storage.run),
    soak.NAME: Scenario(soak.run, usual=False),
}

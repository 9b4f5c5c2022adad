"""Several facilitators in order of preference: verification goes to the first that answers.

A settlement does not: see :mod:`facilitator.pinned`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from facilitator.answers import read_verdict
from facilitator.base import Accepted, Refused
from facilitator.endpoint import NoAnswer, Remote
from facilitator.wire import Payload, PaymentRequirements

REFRESH = 300.0
PROBE = 2.0
"""Seconds between two looks at /supported: of one that is well, and of one that is not."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long facilitators are waited for, in seconds."""

    verify_try: float = 3.0
    """One of them with /verify."""
    verify: float = 5.0
    """All of them together: the latency budget of a request."""
    settle: float = 30.0
    """/settle, where no chain of ours says how long."""
    supported: float = 5.0


@dataclass(frozen=True, slots=True)
class Health:
    """How one facilitator does, for metrics and for people."""

    name: str
    up: bool
    """It is given work."""
    age: float | None
    """Seconds since its last good /supported."""
    doubted: int
    """Successes it claimed that did not bear looking at."""


class Pool:
    """The configured facilitators, best first."""

    def __init__(
        self,
        remotes: Sequence[Remote],
        patience: Patience,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """ValueError when two have the same URL: a settlement is pinned by it."""
        self._remotes = {remote.endpoint.url: remote for remote in remotes}
        if len(self._remotes) != len(remotes):
            raise ValueError("two facilitators with the same URL")
        self._by_network: dict[str, list[Remote]] = {}
        self.patience = patience
        self._now = now

    def at(self, url: str) -> Remote | None:
        """The facilitator of a URL, where it is still configured."""
        return self._remotes.get(url)

    def ready(self, network: str) -> bool:
        """Whether any is there for a network and not known to be down."""
        return any(not remote.breaker.open for remote in self._serving(network))

    def supports(self, network: str, scheme: str) -> bool:
        """Whether any that is not known to be down has said that it takes such payments."""
        return any(
            remote.kind(network, scheme) is not None and not remote.breaker.open
            for remote in self._remotes.values()
        )

    def extra(self, network: str, scheme: str) -> Mapping[str, Any]:
        """What the first of those wants clients to know; of one that is down when all are."""
        said = None
        for remote in self._serving(network):
            kind = remote.kind(network, scheme)
            if kind is not None and not remote.breaker.open:
                return kind.extra
            said = said or kind
        return {} if said is None else said.extra

    def choices(self, requirements: PaymentRequirements) -> list[Remote]:
        """Who may be asked about a payment, in order: those that said what its client was told (a fee
        payer is one facilitator's own), and last those that say they do not know its kind."""
        network, scheme, told = requirements.network, requirements.scheme, requirements.extra
        serving = self._serving(network)
        if len(serving) == 1:
            return serving
        same = [each for each in serving if _said(each, network, scheme, told)]
        return sorted(same or serving, key=lambda each: bool(each.kinds) and not each.kind(network, scheme))

    async def verify(
        self, payload: Payload, requirements: PaymentRequirements, body: bytes
    ) -> Accepted | Refused | None:
        """The first verdict within the latency budget; None when there is none."""
        deadline = self._now() + self.patience.verify
        for remote in self.choices(requirements):
            within = min(deadline - self._now(), self.patience.verify_try)
            if within <= 0:
                break
            if not remote.breaker.admit():
                continue
            try:
                return await remote.ask("/verify", body, within, partial(read_verdict, payload), again=True)
            except NoAnswer:
                continue
        return None

    async def refresh(self) -> None:
        """Ask every one for /supported."""
        await asyncio.gather(*(each.refresh(self.patience.supported) for each in self._remotes.values()))

    async def run(self) -> None:
        """Keep what is known of them fresh, and look whether those that are down are back; for ever."""
        while True:
            stale = [remote for remote in self._remotes.values() if _stale(remote)]
            await asyncio.gather(*(remote.refresh(self.patience.supported) for remote in stale))
            await asyncio.sleep(PROBE)

    def health(self) -> list[Health]:
        """Each of them, in order."""
        return [
            Health(each.endpoint.name, not each.breaker.tripped, each.age, each.doubted)
            for each in self._remotes.values()
        ]

    def _serving(self, network: str) -> list[Remote]:
        if network not in self._by_network:
            serving = [each for each in self._remotes.values() if each.endpoint.serves(network)]
            self._by_network[network] = serving
        return self._by_network[network]


def _said(remote: Remote, network: str, scheme: str, told: Mapping[str, Any]) -> bool:
    kind = remote.kind(network, scheme)
    extra = {} if kind is None else kind.extra
    return all(key in extra and extra[key] == value for key, value in told.items())


def _stale(remote: Remote) -> bool:
    return remote.age is None or remote.age > REFRESH or remote.breaker.tripped

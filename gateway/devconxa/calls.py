"""Every call that came, counted."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

from gateway.devconxa.faults import Endpoint


class Calls:
    """Tests read here how a client behaved, above all that it sent a key with one body only."""

    def __init__(self) -> None:
        self.arrived: Counter[Endpoint] = Counter()
        self.answered: defaultdict[Endpoint, Counter[str]] = defaultdict(Counter)
        """By status, as text; ``lost`` are those that were not answered at all."""
        self.bodies: defaultdict[str, Counter[str]] = defaultdict(Counter)
        """What was sent under each idempotency key, and how often."""

    def came(self, endpoint: Endpoint, key: str | None, body: bytes) -> None:
        """Notes a call before anything is done about it."""
        self.arrived[endpoint] += 1
        if key is not None:
            self.bodies[key][body.decode("utf-8", "backslashreplace")] += 1

    def ended(self, endpoint: Endpoint, status: int | None) -> None:
        """Notes how a call ended; None: without an answer."""
        self.answered[endpoint]["lost" if status is None else str(status)] += 1

    def told(self) -> dict[str, Any]:
        """All of it as JSON."""
        counts = {
            endpoint: {"calls": self.arrived[endpoint], "answers": dict(self.answered[endpoint])}
            for endpoint in sorted(self.arrived)
        }
        return {"endpoints": counts, "keys": {key: dict(bodies) for key, bodies in self.bodies.items()}}

"""One settlement by somebody else: pinned to a facilitator before it is sent, ended by evidence.

Whoever was once given a signed authorization may use it at any time, so the payment is
never given to a second one while its outcome is unknown. Only where no connection came
about is it moved on.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial

from facilitator import testimony
from facilitator.answers import Declined, Paid, Unclear, read_settlement
from facilitator.base import (
    Due,
    Journal,
    Refused,
    Settled,
    Settlement,
    Unknown,
    VerificationUnavailable,
)
from facilitator.chain import ChainClient
from facilitator.crashpoints import reach
from facilitator.endpoint import NoAnswer, Remote
from facilitator.pins import Pin, Pins
from facilitator.pool import Pool
from facilitator.reasons import Kind, Reason
from facilitator.testimony import Case
from facilitator.wire import ZERO_ADDRESS

_WATCH = 2.0
"""Seconds a facilitator may take before the chain is asked whether it has settled meanwhile."""

_PAUSES = (1.0, 2.0, 4.0, 8.0)
"""Seconds until the same body goes to the same facilitator again; the last one again and again."""

_LOOKS = (0.1, 0.25, 0.5, 1.0)
"""Seconds between two looks at the chain meanwhile."""

Said = Paid | Declined | Unclear


class Settling:
    """The steps of one call of ``settle``. ``client`` is None for what we cannot read: then there is no
    other evidence than the facilitator's word."""

    def __init__(
        self, pool: Pool, client: ChainClient | None, due: Due, journal: Journal, body: bytes, *, prove: bool
    ) -> None:
        """``prove``: a claimed success is believed only when the chain shows it."""
        self._pool = pool
        self._client = client
        self._due = due
        self._body = body
        self._prove = prove and client is not None
        self._pins = Pins(due, journal)
        self._sent = False
        """Its facilitator may have heard of it."""
        self._unreached: set[str] = set()
        within = pool.patience.settle if client is None else client.chain.settle_within
        self._deadline = time.monotonic() + within

    async def run(self) -> Settlement:
        """The outcome; the records are closed once it is final."""
        try:
            settlement = await self._settle()
        except VerificationUnavailable:
            settlement = Unknown()
        if isinstance(settlement, Unknown):
            return Unknown(self._pins.name)
        await self._pins.close()
        return settlement

    async def _settle(self) -> Settlement:
        await self._pins.read()
        if self._pins.pin is None:
            outcome = await self._begin()
            return outcome if self._pins.pin is None else await self._pursue(self._pins.pin)
        self._sent = True
        heard = await self._hear()
        return await self._pursue(self._pins.pin) if isinstance(heard, Unknown) else heard

    async def _begin(self) -> Settlement:
        """Choose who is to settle, and record it. While there is no pin nothing has been sent."""
        unused_at: int | None = None
        if self._client is not None:
            payload, terms = self._due.exact, self._due.requirements
            seen = await self._client.snapshot(payload, terms, ZERO_ADDRESS, estimate=False)
            if seen.nonce_used:
                return await self._hear()
            if seen.refused is not None:
                return seen.refused
            unused_at = seen.block.number - (seen.block.tag == "pending")
        await self._choose(unused_at, 0)
        return Unknown()

    async def _choose(self, unused_at: int | None, number: int) -> Pin | None:
        """Pin it to the best that is up and not known to be out of reach; None where there is none."""
        for remote in self._pool.choices(self._due.requirements):
            url = remote.endpoint.url
            if url not in self._unreached and not remote.breaker.open:
                recorded = await self._pins.record(Pin(url, unused_at, number))
                return self._pins.pin if recorded else None
        return None

    async def _pursue(self, pin: Pin) -> Settlement:
        """Send, and follow; the same body again now and then, while its outcome is not known."""
        pauses = iter(_PAUSES)
        said: Settlement | Said = Unknown()
        while True:
            if not isinstance(said, Paid):
                said = await self._send(pin)
                if isinstance(said, Settled | Refused):
                    return said
                pin = self._pins.pin or pin
            outcome = await self._watch(min(next(pauses, _PAUSES[-1]), self._left()))
            if isinstance(outcome, Unknown) and self._left() > 0:
                continue
            remote = self._pool.at(pin.url)
            if isinstance(said, Paid) and isinstance(outcome, Unknown) and remote is not None:
                remote.doubt()
            return outcome

    async def _send(self, pin: Pin) -> Settlement | Said:
        """Give it to its facilitator; what it says, or what the chain shows meanwhile."""
        remote = self._pool.at(pin.url)
        if remote is None or not remote.breaker.admit():
            return Unknown()
        first, self._sent = not self._sent, True
        try:
            outcome = await self._ask(remote)
        except NoAnswer as error:
            return await self._move(pin) if first and not error.heard else Unknown()
        reach("K7")
        if isinstance(outcome, Settled | Refused | Unknown):
            return outcome
        return await self._weigh(remote, outcome, first)

    async def _move(self, pin: Pin) -> Settlement | Said:
        """On to the next, from one that was never reached."""
        self._sent = False
        self._unreached.add(pin.url)
        moved = await self._choose(pin.unused_at, pin.number + 1)
        return Unknown() if moved is None else await self._send(moved)

    async def _ask(self, remote: Remote) -> Settlement | Said:
        """POST /settle; the chain is watched until there is an answer."""
        within = max(self._left(), _LOOKS[0])
        read = partial(read_settlement, self._due)
        asking: asyncio.Task[Said] = asyncio.create_task(
            remote.ask("/settle", self._body, within, read, again=False)
        )
        try:
            while not (await asyncio.wait({asking}, timeout=_WATCH))[0]:
                heard = await self._hear()
                if not isinstance(heard, Unknown):
                    return heard
            return await asking
        finally:
            asking.cancel()

    async def _weigh(self, remote: Remote, said: Said, first: bool) -> Settlement | Said:
        """What a facilitator's word is worth."""
        if isinstance(said, Declined):
            believed = await self._believed(said.reason, first)
            return Refused(said.reason.code, "the facilitator's reason") if believed else said
        if isinstance(said, Unclear) and said.doubtful:
            remote.doubt()
        if isinstance(said, Paid) and not self._prove:
            return Settled(said.transaction)
        await self._pins.note(said.transaction)
        return said

    async def _believed(self, reason: Reason, first: bool) -> bool:
        """Whether nothing moved and nothing will, because a facilitator says so.

        That a payment is not good now says nothing of an earlier try: that may be why. On EVM the chain
        must not show it used either, by waiting transactions included.
        """
        if self._client is None:
            return first or reason.kind is Kind.LASTING
        return first and await testimony.unused(self._client.apart(), self._due)

    async def _watch(self, seconds: float) -> Settlement:
        """Ask the chain for so long; where there is none, only wait."""
        until = time.monotonic() + seconds
        looks = iter(_LOOKS)
        while True:
            heard = await self._hear()
            left = until - time.monotonic()
            if not isinstance(heard, Unknown) or left <= 0:
                return heard
            await asyncio.sleep(left if self._client is None else min(next(looks, _LOOKS[-1]), left))

    async def _hear(self) -> Settlement:
        if self._client is None:
            return Unknown()
        unused_at = None if self._pins.pin is None else self._pins.pin.unused_at
        case = Case(self._due, (), (), tuple(self._pins.told), unused_at)
        return await testimony.hear(self._client.apart(), case)

    def _left(self) -> float:
        return max(self._deadline - time.monotonic(), 0.0)

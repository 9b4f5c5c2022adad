"""Settling other people's payments exactly once, with the store and the queues of our own.

A payment that is settled for somebody has the replay key it would have on a route of this store's own
gateways: whichever comes first has it, and the other one is refused. From the claim on it is a payment
like any other: the same leases, fences, journal and evidence, in whichever process serves its queue.

Who asks again gets what is on record. Only a refusal of which nothing was ever sent may be tried anew (the
payer may have funds by now); each such try has a record of its own.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass

from facilitator.asked import SECONDS_TO_LIVE
from facilitator.base import InFlight, Purse, Refused, Settled, Settlement, Unknown, VerificationUnavailable
from facilitator.local import LocalFacilitator
from facilitator.token_abi import NONCE_USED
from facilitator.wire import PaymentPayload, PaymentRequirements
from gateway import steps
from gateway.errors import StoreUnavailable
from gateway.leases import LEASE
from gateway.payment import Claim, Claimed, Lease, Payment, State
from gateway.presence import Presence
from gateway.rails.base import Credential
from gateway.rails.x402 import X402Rail, in_flight
from gateway.settlement import Settler
from gateway.store import Store

ROUTE = "facilitator"
"""What the ledger and the metrics show in the place of a route."""
TRIES = 16
"""Records one authorization may have here: each but the last refused, with nothing sent."""
POLL = 0.05
"""Seconds between looks at what another request, or another process, is working on."""
SLACK = 2.0
"""Seconds to wait beyond ``settle_within`` for an outcome to be recorded."""
_VERIFY = LEASE * 0.8
"""Seconds in which a claim is verified: it is not renewed meanwhile."""
_ANY = 2**31 - 1
"""Attempts: a claim that was dropped before anything was sent may be made again."""
_SPOKEN_FOR = Refused(NONCE_USED, "this authorization is spoken for")


@dataclass(frozen=True, slots=True)
class _Case:
    """One payment somebody asks about."""

    payload: PaymentPayload
    requirements: PaymentRequirements
    credential: Credential
    deadline: float
    """Until when its outcome is waited for (monotonic seconds)."""

    def claim(self, number: int) -> Claim:
        """Its record of that number. The digest is the payment's own: no request on a route has it."""
        credential = self.credential
        key = f"{credential.replay_key}#{number}" if number else credential.replay_key
        return Claim(
            replay_key=key,
            digest=hashlib.sha256(f"{ROUTE}\n{key}".encode()).hexdigest(),
            rail=credential.rail,
            route=ROUTE,
            payer=credential.payer,
            amount=credential.amount,
            asset=credential.asset,
            network=credential.network,
            purse=credential.purse,
            queue=credential.queue,
            terms=credential.terms,
            expires_at=credential.expires_at,
        )


class StoreSettlements:
    """Implements :class:`facilitator.server.Settlements`."""

    def __init__(
        self,
        store: Store,
        presence: Presence,
        settler: Settler,
        rail: X402Rail,
        facilitator: LocalFacilitator,
    ) -> None:
        self._store = store
        self._presence = presence
        self._settler = settler
        self._rail = rail
        self._facilitator = facilitator

    async def purse(self, payload: PaymentPayload, requirements: PaymentRequirements) -> Purse | Refused:
        """The payer's other claims; Refused where this authorization is claimed, or was settled."""
        case = self._case(payload, requirements)
        try:
            if await self._spoken_for(case):
                return _SPOKEN_FOR
            others = await self._others(case, case.claim(0).id)
        except StoreUnavailable as error:
            raise VerificationUnavailable(error.detail) from error

        async def claims() -> Sequence[InFlight]:
            return others

        return Purse(sum(each.amount for each in others), claims)

    async def settle_once(self, payload: PaymentPayload, requirements: PaymentRequirements) -> Settlement:
        """The first outcome there ever is for an authorization; Unknown while there is none."""
        case = self._case(payload, requirements)
        try:
            return await self._settle(case)
        except StoreUnavailable as error:
            raise VerificationUnavailable(error.detail) from error

    async def _settle(self, case: _Case) -> Settlement:
        number = 0
        while time.monotonic() < case.deadline:
            claim = case.claim(number)
            by = await self._presence.name()
            reserved = await self._store.reserve(claim, by=by, lease=LEASE, max_attempts=_ANY)
            if isinstance(reserved, Claimed):
                outcome = await self._claimed(case, claim, reserved)
                if outcome is not None:
                    return outcome
                continue
            payment = reserved.payment
            if payment.digest != claim.digest:
                return _SPOKEN_FOR
            if payment.state is State.RESERVED:
                await self._presence.bury_gone(frozenset({payment.client}))
                await asyncio.sleep(POLL)
            elif number + 1 < TRIES and await self._may_be_tried_anew(payment):
                number += 1
            else:
                return await self._recorded(case, payment)
        return Unknown()

    async def _claimed(self, case: _Case, claim: Claim, claimed: Claimed) -> Settlement | None:
        """Verify and settle under a claim; None where it was lost on the way."""
        verified = False
        try:
            refused = await self._refused(case, claimed)
            if refused is not None:
                return refused
            verified = True
        finally:
            if not verified:
                await self._store.drop(claimed.lease)
        return await self._queued(case, claim, claimed.lease)

    async def _queued(self, case: _Case, claim: Claim, lease: Lease) -> Settlement | None:
        """From here on the payment is settled whoever waits; None where the claim is not ours any more."""
        try:
            if not await self._store.advance(lease, steps.settle_first(None)):
                return None
            within = max(0.0, case.deadline - time.monotonic())
            return await self._told(claim.id, await self._settler.wait(claim.id, claim.queue, within))
        except StoreUnavailable:
            return Unknown()

    async def _refused(self, case: _Case, claimed: Claimed) -> Refused | None:
        """What the chain says now, with the payer's other claims beside it. Work has been done for this:
        it need not live longer than the SDKs ask for."""

        async def claims() -> Sequence[InFlight]:
            return await self._others(case, claimed.lease.payment_id)

        if not self._facilitator.ready(case.requirements.network):
            raise VerificationUnavailable(f"{case.requirements.network}: no settlement key has gas")
        try:
            async with asyncio.timeout(_VERIFY):
                verdict = await self._facilitator.verify(
                    case.payload, case.requirements, Purse(claimed.in_flight, claims), least=SECONDS_TO_LIVE
                )
        except TimeoutError as error:
            raise VerificationUnavailable("verifying took too long") from error
        return verdict if isinstance(verdict, Refused) else None

    async def _recorded(self, case: _Case, payment: Payment) -> Settlement:
        """What became of it, once that is known: who asks again is told then, not before."""
        state = payment.state
        while state in (State.SETTLING, State.UNKNOWN) and time.monotonic() < case.deadline:
            await asyncio.sleep(POLL)
            state = (await self._store.states([payment.id])).get(payment.id, state)
        return await self._told(payment.id, await self._store.find(payment.id))

    async def _told(self, payment_id: str, payment: Payment | None) -> Settlement:
        """A record as it is answered. What was not sent from here is no settlement of ours: another
        facilitator may have sent it for another server."""
        sent = await self._sent(payment_id)
        if payment is None or payment.state in (State.SETTLING, State.UNKNOWN):
            return Unknown(sent[-1] if sent else "")
        if payment.state is State.REFUSED:
            return Refused(payment.reason)
        return Settled(payment.transaction) if payment.transaction in sent else _SPOKEN_FOR

    async def _spoken_for(self, case: _Case) -> bool:
        for number in range(TRIES):
            claim = case.claim(number)
            payment = await self._store.find(claim.id)
            if payment is None:
                return False
            if payment.digest != claim.digest:
                return True
            if not await self._may_be_tried_anew(payment):
                return payment.state not in (State.RESERVED, State.RELEASED)
        return True

    async def _may_be_tried_anew(self, payment: Payment) -> bool:
        return payment.state is State.REFUSED and not await self._sent(payment.id)

    async def _sent(self, payment_id: str) -> list[str]:
        return [each.hash for each in await self._store.transactions_of(payment_id)]

    async def _others(self, case: _Case, payment_id: str) -> list[InFlight]:
        flying = await self._store.in_flight(case.credential.purse)
        return [in_flight(payment) for payment in flying if payment.id != payment_id]

    def _case(self, payload: PaymentPayload, requirements: PaymentRequirements) -> _Case:
        credential = self._rail.credential(payload, requirements)
        deadline = time.monotonic() + credential.settle_within + SLACK
        return _Case(payload, requirements, credential, deadline)

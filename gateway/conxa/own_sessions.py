"""Sessions of the client's own: they cannot be looked up, so one is tried before the upstream works.

The first request of a session pays for its input beforehand, as far as that can be estimated; its charge
after the answer is for the rest.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import replace

from gateway.conxa.charge import Charge
from gateway.conxa.charging import Charger
from gateway.conxa.connections import hashed
from gateway.conxa.measuring import charged, flat, metered
from gateway.conxa.preflight import REQUIRED, declined, preflight
from gateway.conxa.wallets import Wallet, Wallets
from gateway.conxa.wire import Approved, Declined, Unauthorized
from gateway.errors import Unavailable
from gateway.metering import estimate_input
from gateway.payment import request_digest
from gateway.rails.base import Credential, Refusal, Wanted

_TURNED_AWAY = 600.0
"""Seconds for which a session that was refused is not tried again."""
_MOST = 10_000
"""Refused sessions that are kept in mind."""
UNKNOWN_SESSION = Refusal(REQUIRED)


class OwnSessions:
    """Tries sessions. The refused ones are remembered by this process only: anybody can invent some."""

    def __init__(self, wallets: Wallets, charger: Charger) -> None:
        self._wallets = wallets
        self._charger = charger
        self._turned_away: OrderedDict[str, tuple[float, Refusal]] = OrderedDict()

    async def verify(
        self, who: str, wallet: Wallet, credential: Credential, wanted: Wanted
    ) -> Refusal | None:
        """Whether a session may be served; Unavailable when trying it gave no answer."""
        until, refusal = self._turned_away.get(who, (0.0, None))
        if time.monotonic() < until:
            return refusal
        if wallet.connected:
            return preflight(wallet, credential.secret)
        return await self._try(who, credential, wanted)

    async def prepaid(self, who: str, credential: Credential, wanted: Wanted) -> int:
        """Input tokens this request was charged for beforehand."""
        return await self._wallets.prepaid(who, _name(credential, wanted))

    async def _try(self, who: str, credential: Credential, wanted: Wanted) -> Refusal | None:
        charge, name = _input(wanted, credential.secret), _name(credential, wanted)
        reply = await self._charger.prepay(f"{name}:in", charge)
        if isinstance(reply, Approved):
            await self._wallets.prepay(who, name, charge.input_tokens)
            await self._wallets.connected(who, None)
            return None
        if isinstance(reply, Declined):
            return self._turn_away(who, declined(reply.code, reply.balance))
        if isinstance(reply, Unauthorized):
            return self._turn_away(who, UNKNOWN_SESSION)
        raise Unavailable("verification_unavailable", "the session cannot be tried right now; try again")

    def _turn_away(self, who: str, refusal: Refusal) -> Refusal:
        self._turned_away[who] = (time.monotonic() + _TURNED_AWAY, refusal)
        if len(self._turned_away) > _MOST:
            self._turned_away.popitem(last=False)
        return refusal


def _input(wanted: Wanted, session: str) -> Charge:
    metering = wanted.quote.metering
    assert metering is not None, "settings require it"
    if metering.kind == "flat":
        return replace(flat(metering, session), output_tokens=0)
    return charged(estimate_input(metered(metering, wanted)), session)


def _name(credential: Credential, wanted: Wanted) -> str:
    """The same request under the same key: charged once beforehand, whatever becomes of its claim."""
    return hashed(f"{credential.replay_key} {request_digest('', wanted.path, None, wanted.body)}")

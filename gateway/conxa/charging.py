"""Charging a wallet for what was recorded: the same key and the same numbers until there is an answer.

A refusal ends it where the answer was held back. What was served on trust (``deferred``) stays a debt: it is
``unknown``, blocks its session, and is asked for again with a key of its own.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass, replace

from facilitator.base import Refused, Settled, Settlement, Unknown
from facilitator.crashpoints import reach
from gateway.conxa.charge import Charge, read_charge
from gateway.conxa.connections import hashed
from gateway.conxa.wallets import Block, Wallets
from gateway.conxa.wire import (
    HARD_CAP_VIOLATION,
    INVALID_CHARGE,
    NO_CHARGE_PERMISSION,
    Approved,
    ChargeReply,
    Conxa,
    ConxaUnavailable,
    Declined,
    KeyRefused,
    Session,
    Status,
    Unauthorized,
    Unclear,
)
from gateway.errors import StoreUnavailable
from gateway.observe import Metrics, log
from gateway.payment import Moment, Payment, State

PENDING = "settlement_pending"
SESSION_OVER = "session_expired"
SESSION_EXPIRED = "SESSION_EXPIRED"
"""The code of what ended before it was charged; ours, CONXA has none."""
UNAUTHORIZED = "charge_unauthorized"
"""Not charged, and not for the wallet's fault as far as is known."""
_REASONS = frozenset({"insufficient_balance", "hard_cap_violation", "no_charge_permission", "invalid_charge"})
_STICKY = frozenset({HARD_CAP_VIOLATION, NO_CHARGE_PERMISSION})
_PAUSES = (0.1, 2.0)
"""Seconds between tries: at first, and at most."""
_DEBT = 60.0
"""Seconds after which a refused debt is asked for again."""
_NOBODY = "tollway"
"""Who is asked about to see whether our API key is good."""
_ENDED = Session(Status.EXPIRED)


@dataclass(frozen=True, slots=True)
class Payer:
    """Whose wallet pays."""

    who: str
    """Names what is remembered of it."""
    username: str
    """The ``provider_username`` of a connection; empty for a session of the client's own."""


_ANYBODY = Payer("", "")


def reason_of(code: str) -> str:
    """A refusal's stable reason; CONXA may have codes nobody knows yet."""
    return code.lower() if code.lower() in _REASONS else "charge_refused"


class Charger:
    """Settles payments by charges."""

    def __init__(
        self, conxa: Conxa, wallets: Wallets, metrics: Metrics, *, gateway: str, patience: float
    ) -> None:
        """``gateway`` begins every key; ``patience``: seconds until a charge without an answer is unknown."""
        self._conxa = conxa
        self._wallets = wallets
        self._metrics = metrics
        self._gateway = gateway
        self._patience = patience

    async def settle(self, payment: Payment, payer: Payer) -> Settlement:
        """Charge what the payment's note says."""
        charge = read_charge(payment.note)
        if time.time() < charge.again_at:
            return Unknown(payment.transaction, payment.reason, payment.note)
        if charge.due == (0, 0):
            return self._approved(payment, charge, "", charge.balance)
        key = f"{self._gateway}:{payment.id}:{payment.created_at}:{charge.number}"
        reply, doubtful = await self._charge(charge, key, charge.doubtful or _tried_before(payment))
        if isinstance(reply, Approved):
            with suppress(StoreUnavailable):  # only a hint: what is certain must not depend on it
                await self._wallets.balance(payer.who, reply.balance)
            return self._approved(payment, charge, key, reply.balance)
        if isinstance(reply, Declined):
            return await self._declined(payment, payer, charge, key, reply)
        if isinstance(reply, Unauthorized):
            return await self._unauthorized(payment, payer, charge, key, doubtful)
        return await self._doubtful(payment, payer, charge, key)

    async def _doubtful(self, payment: Payment, payer: Payer, charge: Charge, key: str) -> Settlement:
        """The wallet may have been charged: nothing but the same key can tell."""
        await self._wallets.indebted(payer.who)
        known = payment.reason in ("", PENDING)
        return Unknown(key, PENDING, None if known else replace(charge, doubtful=True).note())

    async def prepay(self, key: str, charge: Charge) -> ChargeReply:
        """Charge input tokens before the upstream is asked."""
        reply, _ = await self._charge(charge, f"{self._gateway}:{key}", False)
        if isinstance(reply, Unauthorized) and await self._look(_ANYBODY) is None:
            return Unclear("conxa does not tell whose fault it is")
        return reply

    async def _charge(self, charge: Charge, key: str, doubtful: bool) -> tuple[ChargeReply, bool]:
        """The answer, or the last Unclear after ``patience``; and whether the wallet may have been charged
        by an earlier try."""
        until, pause = time.monotonic() + self._patience, _PAUSES[0]
        while True:
            reply = await self._conxa.charge(charge.session, key, charge.model, *charge.due)
            reach("K7")
            if not isinstance(reply, Unclear):
                return reply, doubtful
            doubtful = True
            wait = max(pause, reply.retry_after or 0.0)
            if time.monotonic() + wait > until:
                log.warning("charge", key=key, reason=reply.reason)
                return reply, doubtful
            await asyncio.sleep(wait)
            pause = min(pause * 2, _PAUSES[1])

    def _approved(self, payment: Payment, charge: Charge, key: str, balance: int | None) -> Settlement:
        for direction, tokens in (("input", charge.input_tokens), ("output", charge.output_tokens)):
            self._metrics.metered.labels(payment.route, payment.rail, direction).inc(tokens)
        return Settled(key, note=replace(charge, session="", balance=balance, error_code=None).note())

    async def _declined(
        self, payment: Payment, payer: Payer, charge: Charge, key: str, reply: Declined
    ) -> Settlement:
        await self._remember(payer.who, charge.session, reply)
        told = replace(charge, balance=reply.balance, error_code=reply.code)
        if reply.code == INVALID_CHARGE:
            log.error("charge", key=key, reason="conxa does not take this charge", model=charge.model)
        if payment.moment is not Moment.DEFERRED or reply.code == INVALID_CHARGE:
            return Refused(reason_of(reply.code), note=replace(told, session="").note())
        await self._wallets.indebted(payer.who)
        owed = replace(told, number=charge.number + 1, doubtful=False, again_at=time.time() + _DEBT)
        return Unknown(key, reason_of(reply.code), owed.note())

    async def _remember(self, who: str, token: str, reply: Declined) -> None:
        """What a refusal says of the wallet."""
        if reply.balance is not None and reply.code not in _STICKY:
            await self._wallets.balance(who, reply.balance)
        if reply.code in _STICKY:
            await self._wallets.block(who, Block(reply.code, reply.balance, hashed(token)))

    async def _unauthorized(
        self, payment: Payment, payer: Payer, charge: Charge, key: str, doubtful: bool
    ) -> Settlement:
        """401 is said of the session and of our API key alike: one look at the session tells them apart."""
        session = await self._look(payer)
        if doubtful:
            return await self._doubtful(payment, payer, charge, key)
        if session is None or session.token == charge.session:
            await self._wallets.indebted(payer.who)
            return Unknown(key, UNAUTHORIZED)
        return await self._over(payment, payer, charge, key, session)

    async def _look(self, payer: Payer) -> Session | None:
        """The session, or where it cannot be looked up at least that our key is good; None: not told."""
        try:
            session = await self._conxa.session(payer.username or _NOBODY)
        except ConxaUnavailable as error:
            if isinstance(error, KeyRefused):
                log.error("conxa", reason=str(error))
            return None
        return session if payer.username else _ENDED

    async def _over(
        self, payment: Payment, payer: Payer, charge: Charge, key: str, session: Session
    ) -> Settlement:
        """The session ended before it was charged: its successor pays, if there is one."""
        await self._wallets.block(payer.who, Block(SESSION_EXPIRED, None, hashed(charge.session)))
        if not session.token:
            return Refused(SESSION_OVER, note=replace(charge, session="", error_code=SESSION_EXPIRED).note())
        renewed = replace(charge, session=session.token, number=charge.number + 1)
        return Unknown(key, SESSION_OVER, renewed.note())


def _tried_before(payment: Payment) -> bool:
    """Whether somebody may have sent this charge: it was not taken up for the first time just now."""
    return payment.reason in ("", PENDING) and payment.history[-1] != (State.SETTLING, payment.updated_at)

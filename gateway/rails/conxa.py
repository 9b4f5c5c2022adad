"""CONXA: wallets that are connected once and then charged for what each request used.

A connection (``X-Tollway-Connection``) is looked up at CONXA before the upstream works; the charge follows
the answer, with the tokens that were counted in it. A session of the client's own (``X-Provider-Session``,
where that is allowed) cannot be looked up: it is tried with the request's input tokens first.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import orjson

from facilitator.base import AT_ONCE, Journal, Settlement
from gateway.conxa.charge import read_charge, told
from gateway.conxa.charging import PENDING, Charger, Payer
from gateway.conxa.connections import Connection, Mint, hashed, is_id
from gateway.conxa.desk import CONNECT, CONNECTIONS
from gateway.conxa.measuring import FlatMeasure, MeteredMeasure, flat, metered
from gateway.conxa.own_sessions import OwnSessions
from gateway.conxa.page import Page, payment_page
from gateway.conxa.preflight import REQUIRED, declined, preflight, unavailable
from gateway.conxa.sessions import Sessions
from gateway.conxa.wallets import Wallet, Wallets
from gateway.conxa.wire import ConxaUnavailable, Session, Status
from gateway.errors import Unavailable
from gateway.headers import Field
from gateway.payment import Payment, State
from gateway.rails.base import (
    Challenge,
    Credential,
    MalformedCredential,
    Measure,
    OtherClaims,
    Outcome,
    Quote,
    Refusal,
    Wanted,
)
from policies.money import micros
from policies.route import Metering

CONNECTION = "X-Tollway-Connection"
SESSION = "X-Provider-Session"
QUEUE = "conxa"
_LIFETIME = 86400
"""Seconds for which a key's payment is remembered at least."""


@dataclass(frozen=True, slots=True)
class Access:
    """What the rail was configured with, as clients are told."""

    provider_id: str
    public_url: str
    accept_sessions: bool


class ConxaRail:
    """Connected wallets, charged after the answer."""

    name = "conxa"
    headers: tuple[str, ...] = (CONNECTION,)
    queues: tuple[str, ...] = (QUEUE,)

    def __init__(
        self,
        access: Access,
        *,
        mint: Mint,
        sessions: Sessions,
        wallets: Wallets,
        charger: Charger,
        own: OwnSessions,
        settle_within: float,
    ) -> None:
        """``settle_within``: seconds a charge may take."""
        self._access = access
        self._mint = mint
        self._sessions = sessions
        self._wallets = wallets
        self._charger = charger
        self._own = own
        self._settle_within = settle_within
        if access.accept_sessions:
            self.headers = (CONNECTION, SESSION)

    def challenge(self, quote: Quote, error: str) -> Challenge | None:
        """Where to connect a wallet, and what will be charged."""
        assert quote.metering is not None, "settings require it"
        base = self._access.public_url
        how: dict[str, Any] = {
            "scheme": "conxa",
            "error": error,
            "provider_id": self._access.provider_id,
            "connect_url": base + CONNECT,
            "connections_url": base + CONNECTIONS,
            "header": CONNECTION,
            "charge": _charge_told(quote.metering),
        }
        return Challenge(how=how, page=partial(_page, quote.description, _in_words(quote.metering)))

    def standing(self, quote: Quote) -> object:
        """It is always the same."""
        return None

    def read(self, header: str, value: str, quotes: Sequence[Quote], key: str | None) -> Credential | Refusal:
        """A connection made here, or any session; the replay key is (session, ``Idempotency-Key``)."""
        if header == CONNECTION:
            if not is_id(value):
                raise MalformedCredential("not the id of a connection")
            connection = self._mint.read(value)
            if connection is None:
                return Refusal(REQUIRED)
            return self._credential(connection.hash, connection.username, value, quotes[0], key)
        if not value.isprintable() or not value.isascii() or not 0 < len(value) <= 4096:
            raise MalformedCredential("not a session token")
        who = hashed(f"session {value}")
        return self._credential(who, "", value, quotes[0], key)

    def _credential(self, who: str, username: str, secret: str, quote: Quote, key: str | None) -> Credential:
        made_up = secrets.token_hex(16)
        own = key or made_up
        return Credential(
            rail=self.name,
            replay_key=f"conxa:{who}:{own}",
            payer=username or f"session-{who[:20]}",
            amount=1,
            asset="charge",
            network="conxa",
            purse=f"conxa:{who}",
            queue=QUEUE,
            expires_at=int(time.time()) + _LIFETIME,
            terms=orjson.dumps({"who": who, "username": username, "key": own}),
            settle_within=self._settle_within,
            worth=micros(quote.money),
            refused=None,
            identifier=own,
            secret=secret,
        )

    async def verify(self, credential: Credential, others: OtherClaims, wanted: Wanted) -> Refusal | None:
        """Connected, not blocked, and with money when it was last seen."""
        payer = _payer(credential.terms)
        wallet = await self._wallets.recall(payer.who)
        if wallet.indebted:
            await self._require_settled(payer, others)
        if not payer.username:
            return await self._own.verify(payer.who, wallet, credential, wanted)
        connection = self._connection(credential)
        session = await self._session(connection, wallet)
        if wallet.blocks(session.token):
            # Another one may have been scanned meanwhile.
            self._sessions.doubt(connection)
            session = await self._session(connection, wallet)
        if session.status is not Status.ACTIVE:
            return Refusal(REQUIRED)
        if not wallet.connected:
            await self._wallets.connected(connection.hash, session.expires_at)
        return preflight(wallet, session.token)

    def _connection(self, credential: Credential) -> Connection:
        connection = self._mint.read(credential.secret)
        assert connection is not None, "read() has seen it"
        return connection

    async def _session(self, connection: Connection, wallet: Wallet) -> Session:
        """A code that nobody scanned in time is not asked about any more."""
        if not wallet.connected and time.time() >= connection.expires_at:
            return Session(Status.EXPIRED)
        try:
            return await self._sessions.now(connection)
        except ConxaUnavailable as error:
            raise unavailable(error) from error

    async def _require_settled(self, payer: Payer, others: OtherClaims) -> None:
        """No new work for a wallet whose last charge is open."""
        in_flight = await others.load()
        if any(payment.state is State.UNKNOWN for payment in in_flight):
            raise Unavailable(PENDING, "a charge to this wallet has no outcome yet; ask again", retry_after=5)
        if not in_flight:  # another one might turn out to have none
            await self._wallets.clear(payer.who)

    async def measure(self, credential: Credential, wanted: Wanted) -> Measure:
        """The route's meter, with the session that will pay."""
        metering = _metering(wanted)
        payer = _payer(credential.terms)
        prepaid = 0
        if payer.username:
            token = (await self._session(self._connection(credential), _CONNECTED)).token
            if not token:
                raise Unavailable(
                    "verification_unavailable", "the wallet's session has just ended; try again"
                )
        else:
            token = credential.secret
            prepaid = await self._own.prepaid(payer.who, credential, wanted)
        if metering.kind == "flat":
            return FlatMeasure(replace(flat(metering, token), prepaid=prepaid))
        return MeteredMeasure(metered(metering, wanted), wanted.codings, token, prepaid)

    async def find_paid(self, credential: Credential) -> str | None:
        """Never: nobody but this gateway can charge by a key of its own."""
        return None

    def at_once(self, queue: str) -> int:
        """Each is a call of its own."""
        return AT_ONCE

    async def settle(self, payment: Payment, journal: Journal) -> Settlement:
        """Charge what was measured."""
        return await self._charger.settle(payment, _payer(payment.terms))

    async def resume(self, queue: str, journal: Journal) -> None:
        """Nothing: charges are taken up one by one."""

    def receipt(self, terms: bytes, outcome: Outcome) -> Sequence[Field]:
        """Tokens and balance; the key to ask again with, while the outcome is not known."""
        if outcome.reason == PENDING:
            key: str = orjson.loads(terms)["key"]
            return [
                (b"Idempotency-Key", key.encode("latin-1")),
                (b"Access-Control-Expose-Headers", b"Idempotency-Key"),
            ]
        return told(outcome.note) if outcome.reason is None and outcome.promised is None else []

    def refusal(self, payment: Payment) -> Refusal:
        """CONXA's own code and the wallet's balance."""
        charge = read_charge(payment.note)
        if charge.error_code is None:
            return Refusal(payment.reason)
        return declined(charge.error_code, charge.balance)


_CONNECTED = Wallet(connected=True)


def _payer(terms: bytes) -> Payer:
    kept = orjson.loads(terms)
    return Payer(kept["who"], kept["username"])


def _metering(wanted: Wanted) -> Metering:
    assert wanted.quote.metering is not None, "settings require it"
    return wanted.quote.metering


def _charge_told(metering: Metering) -> dict[str, Any]:
    if metering.kind != "flat":
        told_model = {} if metering.model is None else {"model": metering.model}
        return {"meter": metering.kind, **told_model}
    return {
        "meter": "flat",
        "model": metering.model,
        "input_tokens": metering.input_tokens,
        "output_tokens": metering.output_tokens,
    }


def _page(description: str, price: str, method: str, target: str) -> Page:
    return payment_page(
        title="Pay for this page",
        description=description,
        price=price,
        method=method,
        target=target,
    )


def _in_words(metering: Metering) -> str:
    if metering.kind != "flat":
        return "Charged by the tokens that are used, from your CONXA wallet, after the answer"
    tokens = metering.input_tokens + metering.output_tokens
    return f"{tokens} tokens of {metering.model}, charged from your CONXA wallet after the answer"

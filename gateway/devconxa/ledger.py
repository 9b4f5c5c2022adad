"""The book of the service: wallets, sessions and charges, without any input or output.

    ledger = Ledger({"pk_test_acme_x": "acme"})
    wallet = ledger.wallets.open(5_000)
    session = ledger.scan(qr_data, wallet)
    reply = ledger.charge(Attempt("acme", session.token, "key-1", order))

Amounts are whole wallet tokens. A charge has two halves, ``begin`` and ``finish``, so that one can be caught
between them by another under the same key.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gateway.devconxa.keys import Keys
from gateway.devconxa.options import Options
from gateway.devconxa.orders import Order
from gateway.devconxa.replies import Declined, Reply, error
from gateway.devconxa.sessions import Action, Session, scanned, status_body
from gateway.devconxa.wallets import Wallets


@dataclass(frozen=True, slots=True)
class Attempt:
    """A charge as it arrives; older SDKs send no key."""

    provider: str
    token: str
    key: str | None
    order: Order


@dataclass(frozen=True, slots=True)
class Charge:
    """A debit that took place; ``balance`` is what it left, ``number`` counts all of them from 1."""

    number: int
    provider: str
    key: str | None
    username: str
    session: str
    wallet: str
    model: str
    input_tokens: int
    output_tokens: int
    cost: int
    balance: int


class Ledger:
    """``providers`` maps API keys to provider ids; ``clock`` tells seconds since 1970."""

    def __init__(
        self,
        providers: Mapping[str, str],
        options: Options | None = None,
        clock: Callable[[], float] = time.time,
        new_token: Callable[[], str] = lambda: f"ps_{secrets.token_urlsafe(24)}",
    ) -> None:
        self.options = options or Options()
        self.wallets = Wallets()
        self.charges: list[Charge] = []
        self._providers = dict(providers)
        self._clock = clock
        self._new_token = new_token
        self._keys = Keys()
        self._sessions: dict[tuple[str, str], Session] = {}
        self._by_token: dict[str, Session] = {}

    def provider(self, api_key: str) -> str:
        """Whose key this is; Declined with 401 if nobody's."""
        if api_key not in self._providers:
            raise Declined(error(401, "Invalid or missing API key"))
        return self._providers[api_key]

    def scan(self, qr_data: str, wallet: str, seconds: float | None = None) -> Session:
        """The wallet's owner scans a code and agrees; the user's former session ends with that."""
        code = scanned(qr_data)
        self.wallets.balance(wallet)
        if code.provider_id not in self._providers.values():
            raise Declined(error(404, "Provider not found"))
        session = Session(
            provider=code.provider_id,
            username=code.provider_username,
            wallet=wallet,
            token=self._new_token(),
            expires_at=self._clock() + (self.options.session_seconds if seconds is None else seconds),
            cap=code.cap,
        )
        former = self._sessions.get(session.owner)
        if former is not None:
            del self._by_token[former.token]
        self._sessions[session.owner] = self._by_token[session.token] = session
        return session

    def act(self, username: str, action: Action, provider: str | None = None) -> Session:
        """Lets something befall a user's session; ``provider`` where several have a user of that name."""
        session = self._session_of(username, provider)
        if action == "expire":
            session.expires_at = self._clock()
        elif action == "revoke":
            session.may_charge = False
        elif action == "pend":
            session.pending = True
        else:
            session.may_charge, session.pending = True, False
            if session.status(self._clock()) == "expired":
                session.expires_at = self._clock() + self.options.session_seconds
        return session

    def status(self, provider: str, username: str) -> Reply:
        """What polling a user says."""
        session = self._sessions.get((provider, username))
        if session is not None:
            return Reply(200, session.told(self._clock()))
        if self.options.before_scan == "missing":
            return error(404, "No session found", "SESSION_NOT_FOUND")
        return Reply(200, status_body(self.options.before_scan))

    def charge(self, attempt: Attempt) -> Reply:
        """Both halves of a charge in one."""
        return self.begin(attempt) or self.finish(attempt)

    def begin(self, attempt: Attempt) -> Reply | None:
        """Takes the attempt's key; the answer stored under it if there is one, which ends it.

        A stored answer is given whatever has become of the session since.
        """
        if not attempt.token:
            raise Declined(error(401, "Session expired or invalid"))
        if attempt.key is None:
            return None
        return self._keys.begin((attempt.provider, attempt.key), attempt.order)

    def finish(self, attempt: Attempt) -> Reply:
        """Decides a charge that has begun. The answer is stored under its key; Declined frees the key."""
        if attempt.key is None:
            return self._decide(attempt)
        scope = (attempt.provider, attempt.key)
        try:
            reply = self._decide(attempt)
        except Declined:
            self._keys.release(scope)
            raise
        self._keys.finish(scope, reply)
        return reply

    def _decide(self, attempt: Attempt) -> Reply:
        session = self._session_by(attempt.provider, attempt.token)
        cost = self._cost(attempt.order)
        if not session.may_charge:
            return error(403, "The user allows no charges", "NO_CHARGE_PERMISSION")
        if not session.has_room_for(cost):
            return self._beyond_the_cap(session)
        balance = self.wallets.debit(session.wallet, cost)
        if balance is None:
            left = self.wallets.balance(session.wallet)
            return error(402, "Insufficient balance", "INSUFFICIENT_BALANCE", new_balance=left)
        session.spent += cost
        self._record(attempt, session, cost, balance)
        return _charged(balance)

    def _record(self, attempt: Attempt, session: Session, cost: int, balance: int) -> None:
        charge = Charge(
            number=len(self.charges) + 1,
            provider=attempt.provider,
            key=attempt.key,
            username=session.username,
            session=session.token,
            wallet=session.wallet,
            model=attempt.order.model_name,
            input_tokens=attempt.order.input_tokens,
            output_tokens=attempt.order.output_tokens,
            cost=cost,
            balance=balance,
        )
        self.charges.append(charge)

    def _beyond_the_cap(self, session: Session) -> Reply:
        code = "HARD_CAP_VIOLATION"
        if self.options.cap_status == 403:
            return error(403, "The limit of this connection is exceeded", code)
        return _charged(self.wallets.balance(session.wallet), code)

    def _cost(self, order: Order) -> int:
        price = self.options.prices.get(order.model_name, self.options.other_models)
        if price is None:
            raise Declined(error(422, "Unknown model", "UNKNOWN_MODEL"))
        return order.input_tokens * price[0] + order.output_tokens * price[1]

    def _session_by(self, provider: str, token: str) -> Session:
        session = self._by_token.get(token)
        if session is None or session.provider != provider or session.status(self._clock()) != "active":
            # No code: it is not known whether the service gives one, so none may be relied on.
            raise Declined(error(401, "Session expired or invalid"))
        return session

    def _session_of(self, username: str, provider: str | None) -> Session:
        named = [each for each in self._sessions.values() if each.username == username]
        found = [each for each in named if provider in (None, each.provider)]
        if len(found) != 1:
            raise Declined(error(404, f"{len(found)} sessions of that user"))
        return found[0]


def _charged(balance: int, refusal: str | None = None) -> Reply:
    return Reply(200, {"approved": refusal is None, "new_balance": balance, "error_code": refusal})

"""What is remembered of a wallet between requests, by all instances: connected, its balance, blocked.

Names are hashes of what the client presents. A stranger adds nothing: only CONXA's own answers do.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import orjson

from gateway.conxa.connections import hashed
from gateway.store import Store

_KEPT = 30 * 86400.0
"""Seconds for which a connected wallet is remembered where its session has no end."""
_BALANCE_KEPT = 86400.0
_BROKE = 60.0
"""Seconds after which an empty wallet may be tried again: nobody tells when it is filled."""


@dataclass(frozen=True, slots=True)
class Block:
    """Why a session may not be charged until its wallet is connected anew."""

    code: str
    balance: int | None
    session: str
    """The hash of the session's token: another session is not blocked."""


@dataclass(frozen=True, slots=True)
class Wallet:
    """What is known of one."""

    connected: bool = False
    balance: int | None = None
    broke: bool = False
    """Whether it was empty a moment ago."""
    block: Block | None = None
    indebted: bool = False
    """Whether a charge was without an outcome when it was last looked at."""

    def blocks(self, token: str) -> bool:
        """Whether this very session may not be charged."""
        return self.block is not None and self.block.session == hashed(token)


class Wallets:
    """Keeps it in the store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def recall(self, who: str) -> Wallet:
        """What is known, in one round trip."""
        names = [_name(who, what) for what in ("session", "balance", "block", "debt")]
        session, balance, block, debt = await self._store.recall(names)
        amount, at = (None, 0.0) if balance is None else orjson.loads(balance)
        return Wallet(
            connected=session is not None,
            balance=amount,
            broke=amount is not None and amount <= 0 and time.time() - at < _BROKE,
            block=None if block is None else Block(*orjson.loads(block)),
            indebted=debt is not None,
        )

    async def connected(self, who: str, until: float | None) -> None:
        """A session is there; ``until`` is unix seconds."""
        seconds = _KEPT if until is None else min(_KEPT, until - time.time())
        await self._store.remember(_name(who, "session"), b"1", seconds=seconds)

    async def balance(self, who: str, amount: int) -> None:
        """CONXA named the balance."""
        value = orjson.dumps([amount, time.time()])
        await self._store.remember(_name(who, "balance"), value, seconds=_BALANCE_KEPT)

    async def block(self, who: str, block: Block) -> None:
        """No charge until another session."""
        value = orjson.dumps([block.code, block.balance, block.session])
        await self._store.remember(_name(who, "block"), value, seconds=_KEPT)

    async def indebted(self, who: str) -> None:
        """A charge has no outcome yet."""
        await self._store.remember(_name(who, "debt"), b"1", seconds=_KEPT)

    async def clear(self, who: str) -> None:
        """No charge is without an outcome."""
        await self._store.forget(_name(who, "debt"))

    async def prepay(self, who: str, name: str, tokens: int) -> None:
        """A request was charged for its input beforehand."""
        value = str(tokens).encode()
        await self._store.remember(_name(who, f"in:{name}"), value, seconds=_BALANCE_KEPT)

    async def prepaid(self, who: str, name: str) -> int:
        """Tokens of ``prepay``."""
        (found,) = await self._store.recall([_name(who, f"in:{name}")])
        return 0 if found is None else int(found)


def _name(who: str, what: str) -> str:
    return f"conxa:{who}:{what}"

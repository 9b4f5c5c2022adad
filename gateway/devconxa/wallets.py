"""Wallets: whole tokens under ids of 16 digits."""

from __future__ import annotations

from itertools import count

from gateway.devconxa.replies import Declined, error

_DIGITS = 16
_FIRST = 10 ** (_DIGITS - 1)


class Wallets:
    """No wallet ever falls below zero; ``issued`` is what was put in by hand, less what was taken out."""

    def __init__(self) -> None:
        self.issued = 0
        self._balances: dict[str, int] = {}
        self._numbers = count(_FIRST)

    def open(self, tokens: int, wallet: str | None = None) -> str:
        """A new wallet's id: the one asked for, or one nobody has."""
        if wallet is None:
            wallet = next(str(number) for number in self._numbers if str(number) not in self._balances)
        if not (len(wallet) == _DIGITS and wallet.isascii() and wallet.isdigit()):
            raise Declined(error(422, f"A wallet id has {_DIGITS} digits"))
        if wallet in self._balances:
            raise Declined(error(409, "There is a wallet of that id"))
        if tokens < 0:
            raise Declined(error(422, "A wallet holds no less than 0 tokens"))
        self._balances[wallet] = tokens
        self.issued += tokens
        return wallet

    def balance(self, wallet: str) -> int:
        """What is left in a wallet; Declined with 404 if there is none."""
        if wallet not in self._balances:
            raise Declined(error(404, "Wallet not found"))
        return self._balances[wallet]

    def top_up(self, wallet: str, tokens: int) -> int:
        """Puts tokens in, or takes them out where negative; the new balance."""
        if self.balance(wallet) + tokens < 0:
            raise Declined(error(422, "A wallet holds no less than 0 tokens"))
        self._balances[wallet] += tokens
        self.issued += tokens
        return self._balances[wallet]

    def debit(self, wallet: str, cost: int) -> int | None:
        """The balance after a charge; None, and nothing taken, if there is too little."""
        if cost > self._balances[wallet]:
            return None
        self._balances[wallet] -= cost
        return self._balances[wallet]

"""Paid load: enough payments for the time there is, and every answer a sale."""

from __future__ import annotations

from bench.errors import NotMeasured
from bench.load import Loaded
from bench.money import HEADER, Paymaster, challenge
from bench.peers.tollway import PRICED
from bench.servers import Server, answers
from bench.session import Session

CONNECTIONS = 32
_FIRST = 1500
"""Payments of the first, short load, which tells how many the next will need."""
_SPARE = 1.6
_TRIES = 4
_REFUSED_AT_MOST = 0.01


class PaidLoad:
    """Pays one server round after round, and learns how fast it is."""

    def __init__(self, session: Session, paymaster: Paymaster, server: Server, expected: float = 0.0) -> None:
        """``expected`` payments a second, where no warm-up is to tell."""
        self._session = session
        self._paymaster = paymaster
        self.server = server
        self._rate = expected

    def check(self) -> None:
        """One payment must buy the goods; NotMeasured says what came instead."""
        [(path, value)] = self._paymaster.sign(challenge(self.server), 1)
        status, _, body = answers(self.server.url, path, {HEADER: value})
        if status != 200 or len(body) != 1024:
            raise NotMeasured(f"a payment buys {status}: {body[:200]!r}")

    def warm_up(self) -> None:
        """A short load."""
        self._pay(_FIRST, 1.0)

    def measure(self, at_least: float = 0.0) -> Loaded:
        """One measurement, of so many seconds."""
        seconds = max(self._session.options.seconds, at_least)
        for _ in range(_TRIES):
            loaded = self._pay(int(self._rate * (seconds + 1) * _SPARE) + 200, seconds)
            if not loaded.ran_out:
                return _sales(loaded)
        raise NotMeasured("payments ran out again and again")

    def serve(self, number: int | None, seconds: float) -> int:
        """Sells for so long, or until that many are sold; how many were."""
        if number is None:
            self.warm_up()
            number = int(self._rate * (seconds + 1) * _SPARE)
        loaded = self._pay(number, seconds)
        return loaded.requests - loaded.refused

    def _pay(self, number: int, seconds: float) -> Loaded:
        payments = self._paymaster.payments(self.server, number)
        try:
            loaded = self._session.load(self.server, PRICED, CONNECTIONS, payments, seconds)
        finally:
            payments.file.unlink()
        self._rate = max(self._rate, 2 * loaded.rate if loaded.ran_out else loaded.rate)
        return loaded


def _sales(loaded: Loaded) -> Loaded:
    if loaded.refused > loaded.requests * _REFUSED_AT_MOST or not loaded.requests:
        raise NotMeasured(f"{loaded.refused} of {loaded.requests} paid requests were refused")
    return loaded

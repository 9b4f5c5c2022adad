"""The CONXA rail: for each lane a service with wallets that stays alive, and connections to pay by."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from crash.api import MODEL
from crash.conxa_audit import FLAT, WALLET_RULES, WalletEvidence, moved, recognise
from crash.conxa_buyers import Holders
from crash.conxa_faults import CONXA_FAULTS, ENDS_SESSIONS
from crash.evidence import Execution
from crash.rail import Kind, Rail
from crash.wants import Want
from standins.conxa import ConxaServer

from gateway.conxa.connections import Mint

PAYERS = 6
WEALTH = 10**12
"""Tokens in every wallet: nobody runs out."""
LIFETIME = 86_400


@dataclass(frozen=True, slots=True)
class Holder:
    """Somebody with a connected wallet."""

    address: str
    """The ``provider_username``."""
    key: str
    """The connection's id."""
    wallet: str


class OnConxa:
    """Wallets are charged for what the answers used."""

    name = "CONXA"
    streams = True
    rules = WALLET_RULES

    def __init__(self) -> None:
        self._conxa = ConxaServer().start()
        self._holders = [self._connected() for _ in range(PAYERS)]

    def _connected(self) -> Holder:
        mint, wallet = Mint(self._conxa.api_key), self._conxa.wallet(WEALTH)
        connection = mint.make(int(time.time()), lifetime=LIFETIME, size=300, limit=None)
        code = {"provider_id": "acme", "provider_type": "api", "provider_username": connection.username}
        self._conxa.scan(json.dumps(code), wallet, seconds=LIFETIME)
        return Holder(connection.username, connection.id, wallet)

    def config(self, moments: Sequence[str]) -> dict[str, Any]:
        # Short times, so that whatever can only be waited for is over soon.
        times = {"timeout": "1s", "settle_within": "4s"}
        rail = {"base_url": self._conxa.url, "api_key": self._conxa.api_key, **times}
        return {"rails": {"conxa": rail}, "routes": [_route(moment) for moment in moments]}

    def payer(self, number: int) -> Holder:
        return self._holders[number]

    def buyers(self, url: str) -> Holders:
        return Holders(url, self._conxa.charges)

    def fail(self, fault: str) -> None:
        if fault != ENDS_SESSIONS:
            self._conxa.fault(**CONXA_FAULTS[fault].model_dump())
            return
        for each in self._holders:
            self._conxa.act(each.address, "expire")

    def mend(self) -> None:
        self._conxa.clear_faults()
        for each in self._holders:
            self._conxa.act(each.address, "restore")

    def evidence(
        self, wants: Sequence[Want], ledger: Sequence[dict[str, Any]], executions: Sequence[Execution]
    ) -> WalletEvidence:
        recognise(wants, ledger, executions)
        charges = self._conxa.charges()
        return WalletEvidence(
            list(wants),
            ledger,
            [moved(charge) for charge in charges],
            executions,
            charges=charges,
            bodies=self._conxa.calls()["keys"],
            spent={each.wallet: WEALTH - self._conxa.balance(each.wallet) for each in self._holders},
        )

    def told(self) -> str:
        calls = self._conxa.calls()
        answers = {name: calls["endpoints"].get(name, {}).get("answers") for name in ("charge", "status")}
        often = sum(sum(bodies.values()) > 1 for bodies in calls["keys"].values())
        return f"CONXA answered {json.dumps(answers)}; {often} of {len(calls['keys'])} keys came again"

    def close(self) -> None:
        self._conxa.stop()


def _route(moment: str) -> dict[str, Any]:
    """Metered, except where the charge has to be known beforehand."""
    flat = {"model": MODEL, "input_tokens": FLAT[0], "output_tokens": FLAT[1]}
    charge = flat if moment == "before" else {"meter": "openai"}
    return {"match": f"* /{moment}/**", "price": "$0.02", "settle": moment, "conxa": charge}


def _opened() -> nullcontext[Callable[[], Rail]]:
    return nullcontext(OnConxa)


CONXA = Kind((*CONXA_FAULTS, ENDS_SESSIONS), 0.5, _opened)

"""A gateway in front of an upstream, with a settlement key and a payee of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.devchain.accounts import DevAccount
from kit.accounts import new_account
from kit.answers import Answer, request
from kit.anvil import Anvil
from kit.gateway import Gateway, plain_config
from kit.payments import SignedPayment, pay_challenge
from kit.upstream import Upstream

PRICE = 10_000
"""Atomic units of every priced request of ``plain_config``: a cent."""


@dataclass(frozen=True)
class Deployment:
    """One gateway, who is paid, and the API behind it."""

    gateway: Gateway
    upstream: Upstream
    anvil: Anvil
    pay_to: str
    sender: DevAccount

    @property
    def url(self) -> str:
        """The public listener."""
        return self.gateway.url

    def earned(self) -> int:
        """What the payee holds, in atomic units."""
        return self.anvil.balance(self.pay_to)

    def sign(
        self, path: str, payer: DevAccount, version: int = 2, method: str = "GET", **changes: Any
    ) -> SignedPayment:
        """Asks what ``path`` costs and signs it; ``changes`` go into the authorization."""
        return pay_challenge(payer.key, request(self.url + path, method), version, **changes)

    def buy(self, path: str, payer: DevAccount, **more: Any) -> Answer:
        """Signs and pays."""
        return request(self.url + path, headers=self.sign(path, payer).headers, **more)


@contextmanager
def deployed(anvil: Anvil, folder: Path, **sections: Any) -> Iterator[Deployment]:
    """Starts both; ``sections`` add to or replace those of ``plain_config``."""
    pay_to, sender = new_account(), new_account()
    anvil.rpc("anvil_setBalance", sender.address, hex(10**19))
    with Upstream() as upstream:
        config = plain_config(
            upstream=upstream.url, rpc=anvil.url, pay_to=pay_to.address, key=sender.key, **sections
        )
        with Gateway(config, folder=folder) as gateway:
            yield Deployment(gateway, upstream, anvil, pay_to.address, sender)

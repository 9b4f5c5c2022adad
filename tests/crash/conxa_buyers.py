"""Who pays from CONXA wallets: the connection's id is all they send."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import uuid4

import httpx
from crash.api import numbered, used
from crash.clients import KEY, Buyers
from crash.conxa_audit import FLAT
from crash.wants import Reply, Want
from kit.answers import Answer

from gateway.devconxa.ledger import Charge
from gateway.rails.conxa import CONNECTION


class Holders(Buyers):
    """Everybody with a wallet: the connection's id pays."""

    def __init__(self, url: str, charges: Callable[[], Sequence[Charge]]) -> None:
        super().__init__(url, httpx.AsyncHTTPTransport(limits=httpx.Limits(max_keepalive_connections=20)))
        self._charges = charges

    def _stock(self, want: Want) -> tuple[httpx.AsyncClient, Mapping[str, str]]:
        return self._plain, {CONNECTION: want.payer.key}

    async def _paid(self, want: Want) -> Mapping[str, str] | None:
        """The key is the payment here: after a refusal it takes another."""
        return {CONNECTION: want.payer.key, KEY: uuid4().hex}

    def _receipt(self, answer: Answer) -> dict[str, Any] | None:
        tokens = answer.headers.get("x-conxa-tokens")
        return None if tokens is None else {"tokens": tokens, "balance": answer.headers["x-conxa-balance"]}

    async def _check_receipt(self, want: Want, reply: Reply) -> None:
        """The tokens of this very answer; where money comes first, they are charged by then."""
        number, flat = numbered(reply.body), want.errand.moment == "before"
        tokens = FLAT if flat else used(number)
        said = None if reply.receipt is None else reply.receipt["tokens"]
        if said is None and want.errand.moment == "deferred":
            return
        if said != f"in={tokens[0]};out={tokens[1]}":
            want.wrong.append(f"an answer that says of its payment: {said} instead of {tokens}")
        elif not any((each.input_tokens, each.output_tokens) == tokens for each in self._charges()):
            want.wrong.append(f"answered before {tokens} were charged")

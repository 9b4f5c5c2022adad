"""The CONXA rail: for each lane a service with wallets that stays alive, and connections that pay from them."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import httpx
from crash.api import MODEL, numbered, used
from crash.clients import Buyers
from crash.conxa_faults import CONXA_FAULTS
from crash.evidence import Evidence, Execution, Finding, Transfer, named
from crash.rail import Kind, Rail
from crash.wants import Reply, Signed, Want
from kit.answers import Answer
from standins.conxa import ConxaServer

from gateway.conxa.connections import Mint
from gateway.devconxa.ledger import Charge
from gateway.payment import request_digest
from gateway.rails.conxa import CONNECTION

PAYERS = 6
WEALTH = 10**12
"""Tokens in every wallet: nobody runs out."""
LIFETIME = 86_400
FLAT = (100, 0)
"""Input and output tokens of what is charged beforehand."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Somebody with a connected wallet."""

    address: str
    """The ``provider_username``."""
    key: str
    """The connection's id."""
    wallet: str


@dataclass
class WalletEvidence(Evidence):
    """With what the service knows."""

    charges: Sequence[Charge]
    bodies: Mapping[str, Mapping[str, int]]
    """What was sent under each idempotency key."""
    spent: Mapping[str, int]
    """Tokens gone from each wallet."""


def charged_for_the_answer(evidence: WalletEvidence) -> Iterator[Finding]:
    """A charge is for the tokens of an execution of its payment; a delivered answer's, for exactly that one's."""
    worked: dict[str, list[Execution]] = defaultdict(list)
    for execution in evidence.executions:
        worked[execution.id].append(execution)
    charged = {
        payment_of(charge.key): (charge.input_tokens, charge.output_tokens) for charge in evidence.charges
    }
    for payment, tokens in charged.items():
        due = {FLAT} if _beforehand(evidence, payment) else {used(each.number) for each in worked[payment]}
        if tokens not in due:
            yield Finding("another amount", f"{tokens} instead of {due}", (payment,))
    for want in evidence.wants:
        execution = None if want.answer is None else evidence.done.get(numbered(want.answer))
        if execution is None or execution.id not in charged or want.errand.moment == "before":
            continue
        if charged[execution.id] != used(execution.number):
            about = f"{named([want])}: {charged[execution.id]} instead of {used(execution.number)}"
            yield Finding("charged for another answer", about, (execution.id,))


def one_body_a_key(evidence: WalletEvidence) -> Iterator[Finding]:
    for key, bodies in evidence.bodies.items():
        if len(bodies) > 1:
            yield Finding("a key with two bodies", " ".join(bodies), (payment_of(key),))


def the_payers_wallet_paid(evidence: WalletEvidence) -> Iterator[Finding]:
    for charge in evidence.charges:
        payment = payment_of(charge.key)
        record = evidence.records.get(payment)
        if record is not None and record["payer"] != charge.username:
            yield Finding("somebody else's wallet", f"{charge.username}, not {record['payer']}", (payment,))


def no_charge_is_open(evidence: WalletEvidence) -> Iterator[Finding]:
    """The service answers again: whatever was unknown has an outcome by now."""
    for payment, record in evidence.records.items():
        if record["state"] == "unknown":
            yield Finding("left hanging", f"unknown: {record['reason']}", (payment,))


def wallets_add_up(evidence: WalletEvidence) -> Iterator[Finding]:
    charged: dict[str, int] = defaultdict(int)
    for charge in evidence.charges:
        charged[charge.wallet] += sum((charge.input_tokens, charge.output_tokens))
    for wallet, gone in evidence.spent.items():
        if gone != charged[wallet]:
            yield Finding(
                "sums differ", f"{gone} tokens are gone from {wallet}, {charged[wallet]} were charged"
            )


class Holders(Buyers):
    """Everybody with a wallet: the connection's id pays."""

    def __init__(self, url: str, charges: Callable[[], Sequence[Charge]]) -> None:
        super().__init__(url, httpx.AsyncHTTPTransport(limits=httpx.Limits(max_keepalive_connections=20)))
        self._charges = charges

    def _stock(self, want: Want) -> tuple[httpx.AsyncClient, Mapping[str, str]]:
        return self._plain, {CONNECTION: want.payer.key}

    async def _paid(self, want: Want) -> Mapping[str, str] | None:
        return {CONNECTION: want.payer.key}

    def _receipt(self, answer: Answer) -> dict[str, Any] | None:
        tokens = answer.headers.get("x-conxa-tokens")
        return None if tokens is None else {"tokens": tokens, "balance": answer.headers["x-conxa-balance"]}

    async def _check_receipt(self, want: Want, reply: Reply) -> None:
        """The tokens of this very answer; where money comes first, they are charged by the time it is here."""
        number, flat = numbered(reply.body), want.errand.moment == "before"
        tokens = FLAT if flat else used(number)
        said = None if reply.receipt is None else reply.receipt["tokens"]
        if said is None and want.errand.moment == "deferred":
            return
        if said != f"in={tokens[0]};out={tokens[1]}":
            want.wrong.append(f"an answer that says of its payment: {said} instead of {tokens}")
        elif not any((each.input_tokens, each.output_tokens) == tokens for each in self._charges()):
            want.wrong.append(f"answered before {tokens} were charged")


class OnConxa:
    """Wallets are charged for what the answers used."""

    name = "CONXA"
    streams = True
    rules = (
        charged_for_the_answer,
        one_body_a_key,
        the_payers_wallet_paid,
        no_charge_is_open,
        wallets_add_up,
    )

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
        rule = CONXA_FAULTS[fault]
        self._conxa.fault(**rule.model_dump())

    def mend(self) -> None:
        self._conxa.clear_faults()

    def evidence(
        self, wants: Sequence[Want], ledger: Sequence[dict[str, Any]], executions: Sequence[Execution]
    ) -> WalletEvidence:
        _recognise(wants, ledger, executions)
        charges = self._conxa.charges()
        moved = [_moved(charge) for charge in charges]
        bodies = self._conxa.calls()["keys"]
        spent = {each.wallet: WEALTH - self._conxa.balance(each.wallet) for each in self._holders}
        return WalletEvidence(list(wants), ledger, moved, executions, charges, bodies, spent)

    def told(self) -> str:
        calls = self._conxa.calls()
        answers = {name: told["answers"] for name, told in calls["endpoints"].items() if name != "health"}
        often = sum(sum(bodies.values()) > 1 for bodies in calls["keys"].values())
        return (
            f"CONXA answered {json.dumps(answers)}; {often} of {len(calls['keys'])} keys came more than once"
        )

    def close(self) -> None:
        self._conxa.stop()


def payment_of(key: str | None) -> str:
    """The payment in an idempotency key of the gateway's."""
    return "" if key is None else key.split(":")[1]


def _moved(charge: Charge) -> Transfer:
    return Transfer(payment_of(charge.key), charge.username, charge.cost, charge.key or "")


def _recognise(
    wants: Sequence[Want], ledger: Sequence[dict[str, Any]], executions: Sequence[Execution]
) -> None:
    """Whose payments these are: the request's digest says it, and what reached the API by its path.

    What came to nothing may be forgotten once an audit has seen it.
    """
    asked, paths = defaultdict(list), defaultdict(list)
    for want in wants:
        asked[want.payer.address, request_digest(want.method, want.path, None, want.body)].append(want)
        paths[want.path].append(want)
    seen = int(time.time()) + 1
    for record in ledger:
        for want in asked[record["payer"], record["digest"]]:
            want.note(Signed(record["id"], want.payer.address, "", seen))
    for execution in executions:
        for want in paths[execution.path]:
            want.note(Signed(execution.id, want.payer.address, "", seen))


def _beforehand(evidence: Evidence, payment: str) -> bool:
    record = evidence.records.get(payment)
    return record is not None and record["settle"] == "before"


def _route(moment: str) -> dict[str, Any]:
    """Metered, except where the charge has to be known beforehand."""
    flat = {"model": MODEL, "input_tokens": FLAT[0], "output_tokens": FLAT[1]}
    charge = flat if moment == "before" else {"meter": "openai"}
    return {"match": f"* /{moment}/**", "price": "$0.02", "settle": moment, "conxa": charge}


def _opened() -> nullcontext[Callable[[], Rail]]:
    return nullcontext(OnConxa)


CONXA = Kind(tuple(CONXA_FAULTS), 0.4, _opened)

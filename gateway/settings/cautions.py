"""What is allowed but probably not meant: warnings, never errors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from decimal import Decimal

from gateway.settings.addresses import PUBLISHED_KEYS
from gateway.settings.document import Document
from gateway.settings.model import Server
from gateway.settings.problems import Problems
from gateway.settings.routes import Placed
from gateway.settings.tree import X402, Conxa, Rails, is_dollar
from policies.money import Dollars, Money, amount_in, whole_units
from policies.price import moneys

V2_CAP = Decimal(1)
"""Dollars stock x402 v2 clients pay at most without being told."""
V1_CAP = Decimal("0.10")
"""The same for x402-fetch, the v1 client."""
LONG = 480
"""Characters of a description above which some clients and facilitators refuse a challenge."""


def caution(
    document: Document, placed: Sequence[Placed], server: Server, rails: Rails, problems: Problems
) -> None:
    """Note every doubt about a valid configuration but unused upstreams."""
    if not server.listen.loopback and document.at(("server", "public_url")) is None:
        problems.warn(
            document.places, ("server", "listen"), "set server.public_url: clients are told 127.0.0.1"
        )
    for each in placed:
        if len(each.route.description) > LONG:
            problems.warn(
                each.document.places, (*each.path, "description"), f"is over {LONG} characters long"
            )
    if rails.x402:
        _rail(document, rails.x402, problems)
        for each in placed:
            if "x402" in each.route.accept:
                _price(each, rails.x402, problems)
    if rails.conxa:
        _wallets(document, rails.conxa, problems)


def caution_unused(document: Document, upstreams: Iterable[str], used: Set[str], problems: Problems) -> None:
    """Note upstreams nothing is sent to."""
    for name in upstreams:
        if name not in used:
            problems.warn(document.places, ("upstreams", name), "is not used by any route")


def _rail(document: Document, x402: X402, problems: Problems) -> None:
    for index, network in enumerate(x402.chains):
        if network.testnet:
            where = ("rails", "x402", "networks", index)
            problems.warn(document.places, where, f"{network.name} is a test network")
    keys = [key.get_secret_value() for each in x402.facilitators.values() for key in each.keys]
    if any(key in PUBLISHED_KEYS for key in keys):
        problems.warn(document.places, ("rails", "x402", "facilitator", "key"), "is a published test key")


def _wallets(document: Document, conxa: Conxa, problems: Problems) -> None:
    if conxa.api_key.get_secret_value().startswith("pk_test_") and not conxa.local:
        problems.warn(
            document.places, ("rails", "conxa", "api_key"), "is a test key: it charges no real wallet"
        )


def _price(placed: Placed, x402: X402, problems: Problems) -> None:
    dearest = max((_dollars(money, x402) for money in moneys(placed.route.price)), default=Decimal(0))
    v1 = "v1" in x402.protocols and any(network.v1_name for network in x402.chains)
    if dearest > V2_CAP:
        message = f"is above ${V2_CAP}: stock v2 clients refuse it unless told otherwise"
    elif dearest > V1_CAP and v1:
        message = f"is above ${V1_CAP}: stock v1 clients (x402-fetch) refuse it unless told otherwise"
    else:
        return
    problems.warn(placed.document.places, (*placed.path, "price"), message)


def _dollars(money: Money, x402: X402) -> Decimal:
    """An amount in dollars; zero where its token stands for something else."""
    if isinstance(money, Dollars):
        return money.value
    if not is_dollar(money.symbol):
        return Decimal(0)
    asset = x402.chains[0].asset(money)
    return Decimal(whole_units(amount_in(money, asset), asset.decimals))

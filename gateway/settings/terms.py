"""A route's ``x402`` section compiled: its own receivers, networks and amounts."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.settings.model import RouteEntry, X402RouteEntry
from gateway.settings.networks import find_network
from gateway.settings.problems import Path
from gateway.settings.receivers import Note, compile_receivers
from gateway.settings.tree import X402, Network
from policies.money import BadMoney, Money, amount_in
from policies.price import Conditional, Free, PriceError, parse_price
from policies.route import Terms


def compile_terms(
    route: RouteEntry,
    accept: tuple[str, ...],
    x402: X402 | None,
    defined: Mapping[str, Network],
    note: Note,
) -> Terms | None:
    """What a route asks for that others do not; None where that is nothing, or after noting why not."""
    if route.x402 is None:
        return None
    if "x402" not in accept or x402 is None:
        note(("x402",), "this route is not paid by rail `x402`")
        return None
    pay_to: dict[str, str] = {}
    if route.x402.pay_to is not None:
        pay_to = compile_receivers(route.x402.pay_to, x402.chains, defined, ("x402", "pay_to"), note)
    return Terms(tuple(pay_to.items()), _accepts(route.x402, x402, defined, note))


def _accepts(
    entry: X402RouteEntry, x402: X402, defined: Mapping[str, Network], note: Note
) -> tuple[tuple[str, Money], ...]:
    found: list[tuple[str, Money]] = []
    for index, each in enumerate(entry.accepts):
        at: Path = ("x402", "accepts", index)
        network = find_network(each.network, defined)
        if network is None or network not in x402.chains:
            note((*at, "network"), "is not one of rails.x402.networks")
            continue
        money = _money(each.price, network, (*at, "price"), note)
        if money is not None and (network.name, money) in found:
            note(at, "is there twice")
        elif money is not None:
            found.append((network.name, money))
    return tuple(found)


def _money(written: object, network: Network, at: Path, note: Note) -> Money | None:
    try:
        price = parse_price(written)
        if isinstance(price, Free | Conditional):
            note(at, "must be an amount")
            return None
        amount_in(price, network.asset(price))
    except (PriceError, BadMoney) as error:
        note(at, str(error))
        return None
    return price

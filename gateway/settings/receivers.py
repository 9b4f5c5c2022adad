"""Who is paid: addresses by network, judged without being repeated."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from gateway.settings.addresses import ZERO, checksummed
from gateway.settings.networks import find_network
from gateway.settings.problems import Path
from gateway.settings.scalars import parse_eth_address
from gateway.settings.tree import Network

Note = Callable[[Path, str], None]
"""Notes a problem at a place."""


def compile_receivers(
    given: Mapping[str, str],
    chains: Sequence[Network],
    defined: Mapping[str, Network],
    steps: Path,
    note: Note,
) -> dict[str, str]:
    """The address of each network that has one; ``*`` in ``given`` stands for all of them."""
    whole = given.get("*")
    if whole is not None:
        return {network.name: _receiver(whole, network, steps, note) for network in chains}
    found: dict[str, str] = {}
    for name, address in given.items():
        network = find_network(name, defined)
        if network is None or network not in chains:
            note((*steps, name), "is not one of rails.x402.networks")
        else:
            found[network.name] = _receiver(address, network, (*steps, name), note)
    return found


def _receiver(given: str, network: Network, steps: Path, note: Note) -> str:
    if not network.evm:
        if not given.isprintable() or " " in given or not given:
            note(steps, "is no address")
        return given
    address = given
    try:
        address = checksummed(parse_eth_address(given))
    except ValueError as error:
        note(steps, str(error))
    if address == ZERO:
        note(steps, "is the zero address: nobody could spend what it gets")
    if any(address == asset.address for asset in network.assets.values()):
        note(steps, "is the token itself: what it gets is lost")
    return address

"""``tollway pay``: one purchase, told leg by leg."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from decimal import Decimal

from gateway.payer import PaymentFailed, Purchase, Request, Unreachable, purchase
from gateway.settings import builtin_networks

RUNTIME, UNREACHABLE, REFUSED = 1, 4, 6


def buy(
    url: str,
    method: str,
    data: bytes | None,
    headers: Mapping[str, str],
    key: str | None,
    max_amount: Decimal,
) -> int:
    """Run the purchase; legs go to stderr, the answer's body to stdout. Returns the exit code."""
    request = Request(url, method, data, headers)
    try:
        bought = asyncio.run(
            purchase(request, key, _tell, decimals=_decimals, chain_id=_chain_id, max_amount=max_amount)
        )
    except PaymentFailed as error:
        _tell(f"not bought: {error}")
        return REFUSED
    except Unreachable as error:
        _tell(f"unreachable: {error}")
        return UNREACHABLE
    if key is None and bought.reply.status == 402:
        return 0
    return _deliver(bought)


def _deliver(bought: Purchase) -> int:
    sys.stdout.buffer.write(bought.reply.body)
    sys.stdout.flush()
    return 0 if bought.reply.status < 400 else RUNTIME


def _tell(line: str) -> None:
    sys.stderr.write(line + "\n")


def _decimals(network: str, asset: str) -> int | None:
    for known in builtin_networks().values():
        if network in (known.caip2, known.v1_name):
            for token in known.assets.values():
                if token.address.lower() == asset.lower():
                    return token.decimals
    return None


def _chain_id(network: str) -> int | None:
    if network.startswith("eip155:") and network[7:].isdigit():
        return int(network[7:])
    return next((known.chain_id for known in builtin_networks().values() if known.v1_name == network), None)

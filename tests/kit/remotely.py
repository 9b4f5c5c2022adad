"""A gateway whose payments somebody else settles: it holds no key, and has the chain to look at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kit.accounts import new_account
from kit.anvil import Anvil
from kit.deployment import Deployment
from kit.gateway import Gateway
from kit.upstream import Upstream

ROUTES = [{"match": "* /v1/**", "price": "$0.01"}, {"match": "* /free/**", "price": "free"}]


def remote_config(
    *,
    upstream: str,
    rpc: str,
    pay_to: Any,
    facilitator: dict[str, Any],
    routes: Sequence[dict[str, Any]] = (),
    own: dict[str, Any] | None = None,
    networks: dict[str, Any] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """As ``plain_config`` but with somebody else's facilitator; ``own`` changes the chain's
    section, and ``networks`` are further ones.

    Times are short: what can only be waited for is soon over.
    """
    here = {"chain_id": 84532, "v1_name": "base-sepolia", "rpc": rpc, "settle_within": "4s", "finality": 2}
    x402 = {"pay_to": pay_to, "networks": ["localdev", *(networks or {})], "facilitator": facilitator}
    return {
        "networks": {"localdev": here | (own or {}), **(networks or {})},
        "upstreams": {"api": {"url": upstream}},
        "rails": {"x402": x402},
        "routes": list(routes) or ROUTES,
        **more,
    }


@contextmanager
def deployed_remotely(
    anvil: Anvil,
    folder: Path,
    *urls: str,
    mode: str = "remote",
    said: dict[str, Any] | None = None,
    pay_to: dict[str, str] | None = None,
    **sections: Any,
) -> Iterator[Deployment]:
    """Starts both behind the facilitators at ``urls``, best first; ``said`` adds to their section, and
    ``pay_to`` has the receivers of further networks."""
    payee, nobody = new_account(), new_account()
    receivers = {"localdev": payee.address, **pay_to} if pay_to else payee.address
    facilitator = {"mode": mode, "url": list(urls), **(said or {})}
    with Upstream() as upstream:
        config = remote_config(
            upstream=upstream.url, rpc=anvil.url, pay_to=receivers, facilitator=facilitator, **sections
        )
        with Gateway(config, folder=folder) as gateway:
            yield Deployment(gateway, upstream, anvil, payee.address, nobody)

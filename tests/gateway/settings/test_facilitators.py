"""Who settles where, and what a route asks for itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from gateway.errors import ConfigError
from gateway.settings import Settings, from_mapping
from policies.money import Dollars

SOLANA = "solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1"
MINT = "4zMMC9srt5Ri5X14GAgXhaHii3GnPAEERYPJgZJDncDU"
OWNER = "2wKupLR9q6wXYppw8Gr2NvWxKBUqm4PPJKkQfoxHDBg4"
PAYEE = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
OTHER = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"
KEY = "0x" + "ab" * 32


def configured(rail: Mapping[str, Any], **route: Any) -> Settings:
    data: dict[str, Any] = {
        "upstreams": {"api": {"url": "http://127.0.0.1:9000"}},
        "networks": {
            "base-sepolia": {"rpc": "http://127.0.0.1:8545"},
            "polygon-amoy": {"rpc": "http://127.0.0.1:8546", "assets": {"USDC": _usdc()}},
            SOLANA: {"assets": {"USDC": {"address": MINT, "decimals": 6}}},
        },
        "rails": {"x402": rail},
        "routes": [{"match": "GET /x", "price": "$0.01", **route}],
    }
    return from_mapping(data, {})


def _usdc() -> dict[str, Any]:
    return {
        "address": "0x41E94Eb019C0762f9Bfcf9Fb1E58725BfB0e7582",
        "decimals": 6,
        "name": "USDC",
        "version": "2",
    }


MIXED: dict[str, Any] = {
    "pay_to": {"base-sepolia": PAYEE, SOLANA: OWNER},
    "networks": ["base-sepolia", SOLANA],
    "facilitator": {"key": KEY},
    "facilitators": {SOLANA: {"mode": "remote", "url": "https://f.example/x402"}},
}


def test_each_network_has_its_own() -> None:
    x402 = configured(MIXED).rails.x402
    assert x402 is not None and x402.remote
    assert {name: each.mode for name, each in x402.facilitators.items()} == {
        "base-sepolia": "local",
        SOLANA: "remote",
    }
    evm, foreign = x402.offers(Dollars(_cent()))
    assert (evm.network, evm.pay_to, evm.amount, evm.name) == ("eip155:84532", PAYEE, 10_000, "USDC")
    assert (foreign.network, foreign.asset, foreign.pay_to, foreign.amount) == (SOLANA, MINT, OWNER, 10_000)
    assert foreign.v1_network is None and foreign.name == ""


def _cent() -> Any:
    from decimal import Decimal

    return Decimal("0.01")


def test_a_route_with_receivers_networks_and_amounts_of_its_own() -> None:
    settings = configured(
        {"pay_to": PAYEE, "networks": ["base-sepolia", "polygon-amoy"], "facilitator": {"key": KEY}},
        x402={
            "pay_to": {"polygon-amoy": OTHER},
            "accepts": [
                {"network": "polygon-amoy", "price": "$0.005"},
                {"network": "base-sepolia", "price": {"amount": "7000", "asset": "USDC"}},
            ],
        },
    )
    x402, route = settings.rails.x402, settings.table.routes[0]
    assert x402 is not None
    asked = [(each.network, each.amount, each.pay_to) for each in x402.offers(Dollars(_cent()), route.terms)]
    assert asked == [("eip155:80002", 5_000, OTHER), ("eip155:84532", 7_000, PAYEE)]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"facilitators": {}}, f"{SOLANA} is not EVM: it needs a facilitator with `mode: remote`"),
        (
            {"facilitators": {SOLANA: {"mode": "hybrid", "url": "https://f.example"}}},
            f"{SOLANA} is not EVM: it needs a facilitator with `mode: remote`",
        ),
        ({"pay_to": {"base-sepolia": PAYEE}}, f"names no address for network {SOLANA}"),
        ({"pay_to": {"base-sepolia": OWNER, SOLANA: OWNER}}, "must be an address: 0x and 40 hexadecimal"),
        ({"networks": ["solana:nowhere"]}, "unknown network `solana:nowhere`"),
    ],
)
def test_wrong(change: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        configured(MIXED | change)
    assert any(says in problem for problem in caught.value.problems), caught.value.problems


def test_remote_needs_an_rpc_too() -> None:
    """Evidence comes from there."""
    with pytest.raises(ConfigError, match="a remote facilitator needs an RPC for base"):
        from_mapping(
            {
                "upstreams": {"api": {"url": "http://127.0.0.1:9000"}},
                "rails": {
                    "x402": {
                        "pay_to": PAYEE,
                        "networks": ["base"],
                        "facilitator": {"mode": "remote", "url": "https://f.example"},
                    }
                },
                "routes": [{"match": "GET /x", "price": "$0.01"}],
            },
            {},
        )


def test_a_mapping_says_only_what_yaml_could() -> None:
    with pytest.raises(ConfigError, match=r"mapping:1:1: routes\[0\].price: must be text, a whole number"):
        configured(MIXED, price=0.01)


def test_secrets_come_from_the_environment() -> None:
    data = {
        "upstreams": {"api": {"url": "${API}"}},
        "routes": [{"match": "GET /x", "price": "free"}],
    }
    assert from_mapping(data, {"API": "http://127.0.0.1:1"}).upstreams["api"].url == "http://127.0.0.1:1"

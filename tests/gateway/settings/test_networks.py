"""The registry of networks, and what a file makes of it."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from x402.mechanisms.evm import V1_NETWORK_CHAIN_IDS
from x402.mechanisms.evm.default_assets import DEFAULT_ASSETS

from gateway.settings.document import read
from gateway.settings.networks import builtin_networks, compile_networks, find_network, v1_chain_ids
from gateway.settings.problems import Problems
from gateway.settings.tree import V1_NAMES, Network
from policies.money import BadMoney, Dollars, Tokens


def compiled(tmp_path: Path, text: str) -> dict[str, Network]:
    """The networks of a file that is right."""
    file = tmp_path / "x.yaml"
    file.write_text(f"networks:\n{text}")
    problems = Problems()
    document = read(file, "x.yaml", 0, {}, problems)
    assert document is not None
    found = compile_networks(document, problems)
    problems.check()
    return found


def test_registry_agrees_with_the_official_sdk() -> None:
    """Every chain, address, decimals and domain; tokens without EIP-3009 are marked."""
    by_id = {network.caip2: network for network in builtin_networks().values()}
    for caip2, assets in DEFAULT_ASSETS.items():
        network = by_id[caip2]
        for theirs in assets if isinstance(assets, list) else [assets]:
            if theirs.get("asset_transfer_method") == "permit2":
                assert theirs["symbol"] in network.permit2
                continue
            ours = network.assets[theirs["symbol"]]
            assert (ours.address, ours.decimals) == (theirs["asset"], theirs["decimals"])
            assert (ours.name, ours.version) == (theirs["name"], theirs["version"])


def test_v1_names_agree_with_the_official_sdk() -> None:
    """And those we offer are among them."""
    ours = v1_chain_ids()
    assert {name: ours[name] for name in V1_NAMES} == {name: V1_NETWORK_CHAIN_IDS[name] for name in V1_NAMES}
    assert all(V1_NETWORK_CHAIN_IDS.get(name, chain_id) == chain_id for name, chain_id in ours.items())
    offered = {network.v1_name for network in builtin_networks().values()} - {None}
    assert offered == V1_NAMES


def test_no_chain_twice() -> None:
    """A CAIP-2 id names one network."""
    ids = [network.chain_id for network in builtin_networks().values()]
    assert len(ids) == len(set(ids))


def test_finding() -> None:
    """By name or CAIP-2 id; what the file defines comes first."""
    own = Network("mine", 8453)
    base = find_network("base", {})
    assert base is not None and base.chain_id == 8453
    assert find_network("eip155:8453", {}) == base
    assert find_network("eip155:8453", {"mine": own}) is own
    assert find_network("base", {"mine": own}) == base
    assert find_network("nowhere", {}) is None


def test_an_override_keeps_the_rest(tmp_path: Path) -> None:
    """Only what is said differs."""
    network = compiled(tmp_path, "  base: {rpc: 'http://a', confirmations: 2, max_fee_gwei: '0.5'}\n")["base"]
    builtin = builtin_networks()["base"]
    assert (network.chain_id, network.v1_name, network.assets) == (8453, "base", builtin.assets)
    assert (network.rpc, network.confirmations, network.max_fee_gwei) == (("http://a",), 2, Decimal("0.5"))


def test_a_name_of_ones_own_for_a_known_chain(tmp_path: Path) -> None:
    """Its tokens are known; its v1 name is only offered where it is said."""
    network = compiled(tmp_path, "  mine: {chain_id: 84532, rpc: 'http://a'}\n")["mine"]
    assert network.v1_name is None
    assert network.testnet
    assert network.assets["USDC"].name == "USDC"


def test_a_caip2_id_as_a_name(tmp_path: Path) -> None:
    """It says the chain itself, or is another name of a built-in one."""
    found = compiled(tmp_path, "  eip155:8453: {rpc: 'http://a'}\n  eip155:99: {rpc: 'http://b'}\n")
    assert found["base"].rpc == ("http://a",)
    assert found["eip155:99"].chain_id == 99


def test_own_assets_come_first(tmp_path: Path) -> None:
    """And replace built-in ones of their symbol."""
    token = "{address: 0x036cbd53842c5426634e7929541ec2318f3dcf7e, decimals: 2, name: N, version: '1'}"
    found = compiled(tmp_path, f"  celo: {{assets: {{EURX: {token}, USDT: {token}}}}}\n")["celo"]
    assert list(found.assets) == ["EURX", "USDT", "USDC", "USAT"]
    assert found.assets["EURX"].address == "0x036CbD53842c5426634e7929541eC2318f3dCF7e"
    assert found.asset(Dollars(Decimal(1))).symbol == "USDC"
    assert found.asset(Tokens(Decimal(1), "USDT")).decimals == 2


def test_names_that_v1_clients_do_not_know(tmp_path: Path) -> None:
    """Right, but not offered: one unknown name makes v1 clients refuse everything."""
    assert compiled(tmp_path, "  celo: {v1_name: celo}\n")["celo"].v1_name is None


@pytest.mark.parametrize("name", ["megaeth", "mezo", "radius", "igra"])
def test_permit2_networks_have_no_asset(name: str) -> None:
    """Using them is an error that says why."""
    with pytest.raises(BadMoney, match="Permit2"):
        builtin_networks()[name].asset(Dollars(Decimal(1)))

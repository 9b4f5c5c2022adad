"""``check --online`` finds what would stop or lose a payment, before there is one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from eth_utils import function_signature_to_4byte_selector
from kit.accounts import new_account
from kit.anvil import Anvil
from kit.gateway import plain_config
from kit.ops import eventually
from kit.redis_server import RedisServer
from standins.conxa import ConxaServer

from gateway.online import findings
from gateway.settings import Settings, load

Make = Callable[..., Settings]
USDC = {
    "address": "0x036CbD53842c5426634e7929541eC2318f3dCF7e",
    "decimals": 6,
    "name": "USDC",
    "version": "2",
}


@pytest.fixture(scope="module")
def payee(anvil: Anvil) -> str:
    """Nobody's enemy."""
    return new_account().address


@pytest.fixture
def make(anvil: Anvil, payee: str, tmp_path: Path) -> Make:
    """Settings in which all is well, but for what the test changes."""

    def build(network: dict[str, Any] | None = None, ether: int = 10**18, **more: Any) -> Settings:
        sender = new_account()
        anvil.rpc("anvil_setBalance", sender.address, hex(ether))
        config = plain_config(
            upstream="http://127.0.0.1:9", rpc=anvil.url, pay_to=payee, key=sender.key, **more
        )
        config.setdefault("store", {}).setdefault("path", str(tmp_path / "data"))
        config["networks"]["localdev"] |= network or {}
        file = tmp_path / "gateway.yaml"
        file.write_text(yaml.safe_dump(config, sort_keys=False))
        return load(file, {})

    return build


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    """A Redis with its defaults: no store for money."""
    with RedisServer(durable=False) as server:
        yield server


async def found(settings: Settings) -> str:
    """The only finding."""
    lines = await findings(settings)
    assert len(lines) == 1, lines
    return lines[0]


async def test_nothing_where_all_is_well(make: Make, redis_fit: RedisServer) -> None:
    assert await findings(make()) == []
    assert await findings(make(store={"url": redis_fit.url})) == []


@pytest.fixture
def redis_fit() -> Iterator[RedisServer]:
    """A Redis for money."""
    with RedisServer() as server:
        yield server


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"name": "USD Coin"}, "name is 'USDC' on the chain, 'USD Coin' in the configuration"),
        ({"version": "1"}, "version is '2' on the chain, '1' in the configuration"),
        ({"decimals": 18}, "decimals is 6 on the chain, 18 in the configuration"),
    ],
)
async def test_a_token_that_calls_itself_otherwise(make: Make, changed: dict[str, Any], told: str) -> None:
    lines = await findings(make({"assets": {"USDC": USDC | changed}}))
    assert lines[0] == f"network localdev: asset USDC: {told}"
    domain = [line for line in lines if "EIP-712 domain" in line]
    assert len(domain) == (0 if "decimals" in changed else 1)


async def test_no_contract_at_the_tokens_address(make: Make) -> None:
    nothing = new_account().address
    line = await found(make({"assets": {"USDC": USDC | {"address": nothing}}}))
    assert line == f"network localdev: asset USDC: there is no contract at {nothing}"


async def test_an_rpc_of_another_chain(make: Make, anvil: Anvil) -> None:
    line = await found(make({"chain_id": 8453, "v1_name": "base"}))
    assert line == "network localdev: rpc 1 of 1: 127.0.0.1: not chain 8453"


async def test_an_rpc_that_is_down(make: Make) -> None:
    line = await found(make({"rpc": "http://127.0.0.1:9"}))
    assert line.startswith("network localdev: rpc 1 of 1: 127.0.0.1: ")


async def test_one_rpc_of_several_that_is_down(make: Make, anvil: Anvil) -> None:
    """The others hide it until they fail, too."""
    line = await found(make({"rpc": [anvil.url, "http://127.0.0.1:9/canary-key"]}))
    assert line.startswith("network localdev: rpc 2 of 2: 127.0.0.1: ") and "canary" not in line


async def test_a_chain_whose_clock_is_ahead(make: Make) -> None:
    with Anvil() as still:
        still.place_token()
        still.rpc("evm_setNextBlockTimestamp", still.now() + 3600)
        still.mine()
        lines = await findings(make({"rpc": still.url}, ether=0))
    assert any("latest block" in line and "ahead" in line for line in lines)


async def test_a_chain_that_only_waits_for_transactions_is_well(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its latest block is old; the next one would not be."""
    now = time.time()
    monkeypatch.setattr("gateway.online.time.time", lambda: now + 40)
    with Anvil() as idle:
        idle.place_token()
        behind = await findings(make({"rpc": idle.url}))
        idle.rpc("anvil_setBlockTimestampInterval", 40)
        waiting = await findings(make({"rpc": idle.url}))
    assert any("behind this machine's clock" in line for line in behind)
    assert not any("latest block" in line for line in waiting)


async def test_a_payee_on_the_blacklist(make: Make, anvil: Anvil, payee: str) -> None:
    listed(anvil, "blacklist(address)", payee)
    try:
        line = await found(make())
    finally:
        listed(anvil, "unBlacklist(address)", payee)
    assert line == f"network localdev: asset USDC: pay_to {payee} is blacklisted by the token"


def listed(anvil: Anvil, function: str, account: str) -> None:
    data = function_signature_to_4byte_selector(function).hex() + account[2:].rjust(64, "0")
    call = {"from": anvil.accounts[-1].address, "to": anvil.token, "data": f"0x{data}"}
    transaction = anvil.rpc("eth_sendTransaction", call)
    eventually(lambda: anvil.rpc("eth_getTransactionReceipt", transaction))


@pytest.mark.parametrize("wei", [0, 10**14])
async def test_a_settlement_key_without_gas(make: Make, wei: int) -> None:
    line = await found(make(ether=wei))
    assert line.startswith("network localdev: settlement key 0x") and f"has {wei} wei for gas" in line


async def test_an_unfit_redis(make: Make, redis: RedisServer) -> None:
    line = await found(make(store={"url": redis.url}))
    assert line.startswith("store: ") and "appendonly yes" in line
    assert await findings(make(store={"url": redis.url, "durability": "accept_loss"})) == []


async def test_a_redis_that_is_down(make: Make) -> None:
    line = await found(make(store={"url": "redis://:canary@127.0.0.1:9/0"}))
    assert line.startswith("store: ") and "127.0.0.1:9" in line and "canary" not in line


async def test_a_folder_that_cannot_hold_payments(make: Make) -> None:
    line = await found(make(store={"path": "/dev/null/data"}))
    assert line.startswith("store: cannot keep payments in /dev/null/data")


async def test_asking_makes_no_store(make: Make, tmp_path: Path) -> None:
    """Made by root, it would be there but not writable when the gateway starts as somebody else."""
    assert await findings(make()) == []
    assert not (tmp_path / "data").exists()


async def test_an_embedded_store_that_is_there_is_asked(make: Make, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "payments.sqlite3").write_bytes(b"no database" * 1000)
    assert "is not a payment store" in await found(make())


@pytest.fixture(scope="module")
def conxa() -> Iterator[ConxaServer]:
    """Answers questions, and knows nobody."""
    with ConxaServer() as server:
        yield server


def wallets(folder: Path, url: str, key: str) -> Settings:
    """A gateway that is paid from wallets only."""
    config = {
        "store": {"path": str(folder / "data")},
        "upstreams": {"llm": {"url": "http://127.0.0.1:9"}},
        "rails": {"conxa": {"base_url": url, "api_key": key}},
        "routes": [{"match": "POST /chat", "price": "$0.02", "conxa": {"meter": "openai"}}],
    }
    file = folder / "gateway.yaml"
    file.write_text(yaml.safe_dump(config))
    return load(file, {})


@pytest.mark.parametrize("nobody", ["missing", "not_found", "pending"])
async def test_a_conxa_that_is_well(tmp_path: Path, conxa: ConxaServer, nobody: str) -> None:
    """However it says that it knows nobody of that name."""
    conxa.options.before_scan = nobody
    assert await findings(wallets(tmp_path, conxa.url, conxa.api_key)) == []


async def test_a_key_conxa_does_not_take(tmp_path: Path, conxa: ConxaServer) -> None:
    line = await found(wallets(tmp_path, conxa.url, "pk_test_acme_canary"))
    assert line == f"conxa: {conxa.url}: conxa does not accept rails.conxa.api_key" and "canary" not in line


async def test_a_conxa_that_is_ill(tmp_path: Path, conxa: ConxaServer) -> None:
    conxa.fault("health", "status_before", code=503)
    line = await found(wallets(tmp_path, conxa.url, conxa.api_key))
    assert line == f"conxa: {conxa.url}/health does not say `ok`"


async def test_a_conxa_that_is_not_there(tmp_path: Path) -> None:
    health, session = await findings(wallets(tmp_path, "http://127.0.0.1:9", "pk_test_acme_x"))
    assert "/health" in health and session == "conxa: http://127.0.0.1:9: conxa does not answer"


async def test_what_is_served_to_others_is_asked_about_too(make: Make, anvil: Anvil) -> None:
    rich, poor = new_account(), new_account()
    anvil.rpc("anvil_setBalance", rich.address, hex(10**18))
    assert await findings(make(facilitator={"networks": ["localdev"], "key": rich.key})) == []
    line = await found(make(facilitator={"networks": ["localdev"], "key": [rich.key, poor.key]}))
    assert line.startswith(f"network localdev: settlement key {poor.address.lower()} has 0 wei")


async def test_a_token_that_others_could_not_pay_with_is_told_once(make: Make, anvil: Anvil) -> None:
    rich = new_account()
    anvil.rpc("anvil_setBalance", rich.address, hex(10**18))
    wrong = {"assets": {"USDC": {**USDC, "name": "USD Coin"}}}
    lines = await findings(make(network=wrong, facilitator={"networks": ["localdev"], "key": rich.key}))
    assert len(lines) == len(set(lines)) == 2 and all("asset USDC" in line for line in lines)

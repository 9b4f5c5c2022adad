"""``tollway check --online`` as it is run before a start, and against what runs."""

from __future__ import annotations

import json
from pathlib import Path

import yaml
from kit.anvil import Anvil
from kit.deployment import Deployment
from kit.gateway import plain_config
from kit.ops import tollway
from kit.redis_server import RedisServer

PAYEE = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"


def test_all_is_well_beside_a_running_gateway(single: Deployment) -> None:
    done = tollway("check", "--online", "-c", str(single.gateway.config_file))
    assert done.returncode == 0 and "problem:" not in done.stderr
    assert "test network" in done.stderr
    assert done.stdout.splitlines()[0] == "route\trails\tprice\tupstream"


def test_every_problem_at_once_is_4(tmp_path: Path, anvil: Anvil) -> None:
    with RedisServer(durable=False) as redis:
        config = plain_config(
            upstream="http://127.0.0.1:9",
            rpc=anvil.url,
            pay_to=PAYEE,
            key="0x" + "37" * 32,
            store={"url": redis.url},
        )
        config["networks"]["gone"] = {
            "chain_id": 31337,
            "rpc": "http://127.0.0.1:9",
            "assets": {"USDC": {"address": anvil.token, "decimals": 6, "name": "USDC", "version": "2"}},
        }
        config["rails"]["x402"]["networks"].append("gone")
        file = tmp_path / "gateway.yaml"
        file.write_text(yaml.safe_dump(config, sort_keys=False))
        asked = tollway("check", "--online", "--json", "-c", str(file))
        told = tollway("check", "--online", "-c", str(file))
        offline = tollway("check", "-c", str(file))
    assert (asked.returncode, told.returncode, offline.returncode) == (4, 4, 0)
    problems = json.loads(asked.stdout)["problems"]
    assert [line.split(":")[0] for line in problems] == ["store", "network localdev", "network gone"]
    assert [line for line in told.stderr.splitlines() if line.startswith("problem: ")] == [
        f"problem: {line}" for line in problems
    ]

"""The commands as they are typed: what they print, where, and with which exit code."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kit.answers import request
from kit.deployment import Deployment
from kit.ops import tollway, tracebacks

# How it starts is what is tested.
pytestmark = pytest.mark.usefixtures("executed")

FundedAccount = Callable[..., Any]
KEY = "0x" + "11" * 32
CONFIG = """\
networks:
  localdev: {chain_id: 84532, v1_name: base-sepolia, rpc: "http://127.0.0.1:9"}
upstreams:
  api: {url: "http://127.0.0.1:9000"}
rails:
  x402:
    pay_to: 0x70997970C51812dc3A010C7d01b50e0d17dc79C8
    networks: [localdev]
    facilitator: {key: 0xabababababababababababababababababababababababababababababababab}
routes:
  - {match: GET /v1/x, price: $0.01}
  - {match: GET /dear, price: $2}
  - {match: GET /free, price: free}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A valid file."""
    file = tmp_path / "gateway.yaml"
    file.write_text(CONFIG)
    return file


# What every command shares


@pytest.mark.parametrize("arguments", [["--help"], ["version"], ["--version"]])
def test_what_needs_no_configuration(arguments: list[str]) -> None:
    done = tollway(*arguments)
    assert done.returncode == 0 and "tollway" in done.stdout.lower() and not done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["sell"],
        ["serve"],
        ["check", "--colour"],
        ["quote", "-c", "x", "GET"],
        ["pay"],
        ["demo", "--port", "x"],
    ],
)
def test_wrong_usage_is_2(arguments: list[str]) -> None:
    done = tollway(*arguments)
    assert done.returncode == 2 and "Usage:" in done.stderr and not done.stdout


LIGHT = {"--help": ["--help"], "version": ["version"], "healthcheck": ["healthcheck"]}
HEAVY = {
    "asyncio",
    "aiohttp",
    "pydantic",
    "web3",
    "yaml",
    "structlog",
    "redis",
    "uvloop",
    "prometheus_client",
}


@pytest.mark.parametrize("command", LIGHT)
def test_nothing_heavy_is_imported_where_it_must_be_quick(command: str) -> None:
    argv = [sys.executable, "-X", "importtime", "-m", "gateway", *LIGHT[command]]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "gateway.cli" in imported
    assert not HEAVY & {name.partition(".")[0] for name in imported}


@pytest.mark.parametrize("command", [["serve"], ["check"], ["check", "--json"], ["quote", "GET", "/x"]])
def test_an_invalid_file_is_3_with_every_problem_located(command: list[str], config: Path) -> None:
    config.write_text(CONFIG.replace("price: $0.01", "prise: $0.01").replace("networks: [", "network: ["))
    done = tollway(*command, "-c", str(config))
    assert done.returncode == 3 and not done.stdout and not tracebacks(done.stderr)
    lines = done.stderr.splitlines()
    assert all(line.startswith(f"{config}:") for line in lines) and len(lines) >= 2
    assert any("prise" in line and "did you mean" in line for line in lines)
    assert any(line.startswith(f"{config}:11:") for line in lines)


@pytest.mark.parametrize("command", [["serve"], ["check"], ["quote", "GET", "/x"]])
@pytest.mark.parametrize("name", ["missing.yaml", ""])
def test_a_file_that_cannot_be_read_is_3(command: list[str], name: str, tmp_path: Path) -> None:
    done = tollway(*command, "-c", str(tmp_path / name))
    assert done.returncode == 3 and done.stderr.count("\n") == 1 and not tracebacks(done.stderr)


def test_an_admin_listener_for_others_needs_a_token(config: Path) -> None:
    config.write_text("server: {admin: 0.0.0.0:8403}\n" + CONFIG)
    done = tollway("check", "-c", str(config))
    assert done.returncode == 3 and "admin_token" in done.stderr
    config.write_text("server: {admin: 0.0.0.0:8403, admin_token: some-long-token-1234}\n" + CONFIG)
    assert tollway("check", "-c", str(config)).returncode == 0


# check and quote


def test_check_in_a_pipe_is_tab_separated(config: Path) -> None:
    done = tollway("check", "-c", str(config))
    assert done.returncode == 0
    assert [line.split("\t") for line in done.stdout.splitlines()] == [
        ["route", "rails", "price", "upstream"],
        ["GET /v1/x", "x402", "$0.01", "api"],
        ["GET /dear", "x402", "$2", "api"],
        ["GET /free", "-", "free", "api"],
    ]
    assert "above $1" in done.stderr and "test network" in done.stderr


def test_check_on_a_terminal_is_a_table(config: Path) -> None:
    master, terminal = pty.openpty()
    argv = [sys.executable, "-m", "gateway", "check", "-c", str(config)]
    subprocess.run(argv, stdout=terminal, stderr=subprocess.DEVNULL, timeout=60, check=True)
    os.close(terminal)
    shown = os.read(master, 65536).decode().splitlines()
    os.close(master)
    assert shown[0] == "route      rails  price  upstream"
    assert shown[1] == "GET /v1/x  x402   $0.01  api"


def test_check_as_json(config: Path) -> None:
    done = tollway("check", "--json", "-c", str(config))
    told = json.loads(done.stdout)
    assert set(told) == {"routes", "warnings", "problems"} and told["problems"] == []
    assert told["routes"][0] == {"route": "GET /v1/x", "rails": "x402", "price": "$0.01", "upstream": "api"}
    assert any(f"{config}:12:" in line for line in told["warnings"]) and not done.stderr


def test_quote(config: Path) -> None:
    done = tollway("quote", "-c", str(config), "GET", "/v1/x")
    assert done.returncode == 0 and "0.01 USDC = 10000 atomic units" in done.stdout
    assert "no_route" in tollway("quote", "-c", str(config), "GET", "/V1/x").stdout


# serve


def test_serve_prints_one_ready_line_with_both_listeners(single: Deployment) -> None:
    lines = [line for line in single.gateway.logs().splitlines() if not line.startswith("{")]
    assert len(lines) == 1 and lines[0].startswith("tollway ")
    assert f"listening on {single.url}, admin {single.gateway.admin}" in lines[0]


def test_serve_without_an_admin_listener(single_with: Callable[..., Deployment]) -> None:
    shop = single_with(server={"admin": "off"})
    assert "admin off" in shop.gateway.logs() and request(shop.url + "/free/x").status == 200
    with pytest.raises(ConnectionRefusedError):
        request(shop.gateway.admin + "/livez")


@pytest.mark.parametrize("workers", [1, 2])
def test_port_0_is_one_port_and_the_ready_line_names_it(
    workers: int, single_with: Callable[..., Deployment]
) -> None:
    shop = single_with(server={"listen": "127.0.0.1:0", "admin": "127.0.0.1:0", "workers": workers})
    words = next(line for line in shop.gateway.logs().splitlines() if "listening on" in line).split()
    url, admin = words[words.index("on") + 1].rstrip(","), words[-1]
    assert {request(url + "/free/x").status for _ in range(10)} == {200}
    assert request(admin + "/livez").status == 200


def test_serve_tells_its_warnings(single: Deployment) -> None:
    assert "test network" in single.gateway.logs()


# healthcheck


def test_healthcheck(single: Deployment, tmp_path: Path) -> None:
    healthy = tollway("healthcheck", "-c", str(single.gateway.config_file))
    assert (healthy.returncode, healthy.stdout, healthy.stderr) == (0, "", "")
    assert tollway("healthcheck").returncode == 1, "nobody listens at the default address here"
    single.gateway.stop()
    assert tollway("healthcheck", "-c", str(single.gateway.config_file)).returncode == 1


FORMS = {
    "flow": "server: {{listen: 127.0.0.1:1, admin: {admin}}}",
    "flow, quoted, first": 'server: {{"admin": "{admin}", listen: 127.0.0.1:1}}',
    "required variable": "server:\n  admin: ${{WHERE:?say where}}",
    "default": "server:\n  admin: ${{NOWHERE:-{admin}}}",
    "another admin": "upstreams:\n  admin: {{url: http://127.0.0.1:9}}\nserver:\n  admin: {admin}",
    "a comment": "# admin: 127.0.0.1:9\nserver:\n  # admin: 127.0.0.1:9\n  admin: {admin} # here",
}


@pytest.mark.parametrize("form", FORMS)
def test_healthcheck_finds_the_address(form: str, single: Deployment, tmp_path: Path) -> None:
    admin = single.gateway.admin.removeprefix("http://")
    file = tmp_path / "other.yaml"
    file.write_text(FORMS[form].format(admin=admin) + "\n")
    assert tollway("healthcheck", "-c", str(file), env={"WHERE": admin}).returncode == 0


@pytest.mark.parametrize("text", [None, "server: {admin: off}\n", "server:\n  admin: off\n"])
def test_healthcheck_says_what_it_cannot_ask(text: str | None, tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    if text is not None:
        file.write_text(text)
    done = tollway("healthcheck", "-c", str(file))
    assert done.returncode == 1 and done.stderr.startswith("tollway: ") and not tracebacks(done.stderr)

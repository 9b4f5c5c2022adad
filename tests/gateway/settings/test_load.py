"""Right configurations: what they become."""

from __future__ import annotations

import os
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.errors import ConfigError
from gateway.settings import Server, Settings, Store, load
from gateway.settings.model import Configuration
from policies.money import Atomic, Dollars, Tokens
from policies.price import Conditional

REPO = Path(__file__).parents[3]
ENVIRON = {
    "SETTLEMENT_KEY": "0x" + "ab" * 32,
    "ADMIN_TOKEN": "token",
    "API_KEY": "key",
    "CONXA_API_KEY": "pk_test_acme_x",
}

INTERFACE = """\
server:
  listen: 127.0.0.1:8402          # public
  admin: 127.0.0.1:8403           # health, metrics, ledger; "off" disables
  public_url: http://127.0.0.1:8402   # base of every resource URL; never taken from Host
  workers: 1                      # processes sharing the public port
  max_request_body: 10MiB
  max_response_body: 32MiB        # most that is held back until a payment is settled
  header_timeout: 10s
  body_timeout: 30s
  keepalive_timeout: 75s
  max_connections: 10000
  drain_timeout: 25s
  max_buffered: 256MiB
  trusted_proxies: []
  cors: {origins: "*"}            # or a list; never with credentials
  admin_token: ${ADMIN_TOKEN:-}   # required when admin is not loopback

store:
  url: embedded
  path: ./tollway-data            # embedded only
  replay_window: 24h
  redeem_window: 15m
  max_answer: 1MiB
  max_answers: 512MiB
  durability: strict
  wait_replicas: 0

networks:
  localdev:
    chain_id: 84532
    v1_name: base-sepolia
    rpc: http://127.0.0.1:8545    # one URL or a list
    confirmations: 1
    finality: 64
    settle_within: 30s
    max_fee_gwei: 50
    assets:
      USDC: {address: 0x036CbD53842c5426634e7929541eC2318f3dCF7e, decimals: 6, name: USDC, version: "2"}

upstreams:
  weather:
    url: http://127.0.0.1:9000    # a base path is allowed
    timeout: 30s
    connect_timeout: 5s
    host: upstream
    headers: {Authorization: "Bearer ${WEATHER_KEY}"}
  llm:
    url: http://127.0.0.1:9001/base/

rails:
  x402:
    pay_to: 0x70997970C51812dc3A010C7d01b50e0d17dc79C8
    networks: [localdev]
    max_timeout: 300s
    protocols: [v1, v2]
    exclusive: true
    facilitator:
      mode: local
      key: ${file:settlement_key}

unmatched: deny
policies: [policies/*.yaml]

routes:
  - match: GET /v1/forecast/{city}
    upstream: weather
    price: $0.01
    description: Seven-day forecast
  - match: POST /v1/chat/completions
    upstream: llm
    accept: [x402]
    price: $0.02
  - match: GET /v1/reports/**
    upstream: weather
    price: $0.05
  - match: "* /health"
    upstream: weather
    price: free
"""


def example(tmp_path: Path, text: str = INTERFACE, **environ: str) -> Settings:
    """INTERFACE's own example, without what comes later."""
    key = tmp_path / "settlement_key"
    key.write_text("ab" * 32 + "\n")
    key.chmod(0o600)
    (tmp_path / "gateway.yaml").write_text(text)
    return load(tmp_path / "gateway.yaml", {"WEATHER_KEY": "w"} | environ)


def test_the_example(tmp_path: Path) -> None:
    """Every key of INTERFACE section 2 that exists."""
    settings = example(tmp_path)
    assert settings.server == Server()
    assert settings.store == Store()
    assert [route.name for route in settings.table.routes] == [
        "GET /v1/forecast/{city}",
        "POST /v1/chat/completions",
        "GET /v1/reports/**",
        "* /health",
    ]
    assert settings.upstreams["weather"].headers == {"Authorization": "Bearer w"}
    assert settings.upstreams["llm"].url == "http://127.0.0.1:9001/base"
    assert settings.networks["localdev"].caip2 == "eip155:84532"
    assert settings.networks["localdev"].max_fee_gwei == Decimal(50)
    assert [line.partition("gateway.yaml:")[2] for line in settings.warnings] == [
        "53:16: rails.x402.networks[0]: localdev is a test network",
        "62:12: policies[0]: matches no file",
    ]


def test_defaults_are_those_of_the_example() -> None:
    """A file without a section is the file that says what INTERFACE says."""
    data: dict[str, Any] = yaml.load(INTERFACE, yaml.BaseLoader)
    written = data["server"] | {
        "admin_token": None,
        "workers": 1,
        "max_connections": 10_000,
        "trusted_proxies": [],
    }
    assert Server.model_validate(written) == Server()
    assert Store.model_validate(data["store"] | {"wait_replicas": 0}) == Store()
    assert set(Server.model_fields) == set(data["server"])
    assert set(Store.model_fields) == {*data["store"], "wait_replicas"}
    assert set(Configuration.model_fields) == {*data, "exposure", "facilitator"}


def test_offers(tmp_path: Path) -> None:
    """One requirement a network, checksummed, in atomic units."""
    x402 = example(tmp_path).rails.x402
    assert x402 is not None
    (offer,) = x402.offers(Dollars(Decimal("0.01")))
    assert (offer.scheme, offer.network, offer.chain_id, offer.v1_network) == (
        "exact",
        "eip155:84532",
        84532,
        "base-sepolia",
    )
    assert offer.amount == 10_000
    assert offer.asset == "0x036CbD53842c5426634e7929541eC2318f3dCF7e"
    assert offer.pay_to == "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
    assert (offer.max_timeout, offer.name, offer.version) == (300, "USDC", "2")
    assert x402.offers(Dollars(Decimal("0.010"))) is x402.offers(Dollars(Decimal("0.01")))
    assert x402.offers(Tokens(Decimal(1), "USDC"))[0].amount == 1_000_000
    assert x402.offers(Atomic(7, "USDC"))[0].amount == 7


def test_several_networks(tmp_path: Path) -> None:
    """In the order of the list, each with its own receiver, token and v1 name."""
    low = "0x3c44cdddb6a900fa2b585dd299e03d12fa4293bc"
    high = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
    text = INTERFACE.replace("networks: [localdev]", "networks: [eip155:1, localdev, polygon]")
    receivers = f"{{ethereum: {low}, localdev: {low}, eip155:137: {high}}}"
    text = text.replace(f"pay_to: {high}", f"pay_to: {receivers}")
    nodes = "networks:\n  ethereum: {rpc: 'http://a'}\n  polygon: {rpc: ['http://b']}\n"
    text = text.replace("networks:\n", nodes, 1)
    x402 = example(tmp_path, text).rails.x402
    assert x402 is not None
    assert x402.networks == ("ethereum", "localdev", "polygon")
    offers = x402.offers(Dollars(Decimal(1)))
    assert [offer.v1_network for offer in offers] == [None, "base-sepolia", "polygon"]
    assert [offer.name for offer in offers] == ["USD Coin", "USDC", "USD Coin"]
    assert offers[0].pay_to == "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"
    assert offers[2].pay_to == "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"


def test_secrets_do_not_show(tmp_path: Path) -> None:
    """Not when settings are printed, either."""
    text = INTERFACE.replace("http://127.0.0.1:8545", "http://rpc.example/v2/canary")
    settings = example(tmp_path, text, WEATHER_KEY="canary", ADMIN_TOKEN="canary")
    assert settings.rails.x402 is not None
    assert settings.rails.x402.facilitators["localdev"].keys[0].get_secret_value() == "0x" + "ab" * 32
    assert "canary" not in repr(settings)
    assert "abab" not in repr(settings)


def test_numbers_from_the_environment(tmp_path: Path) -> None:
    """A variable is text; where a number or a switch is wanted it is read as one."""
    text = INTERFACE.replace("workers: 1 ", "workers: ${WORKERS} ").replace(
        "exclusive: true", "exclusive: ${SOLE}"
    )
    settings = example(tmp_path, text, WORKERS="4", SOLE="false", ADMIN_TOKEN="12345")
    assert settings.server.workers == 4
    assert settings.rails.x402 is not None and settings.rails.x402.exclusive is False
    assert settings.server.admin_token is not None
    assert settings.server.admin_token.get_secret_value() == "12345"


def test_policy_files(tmp_path: Path) -> None:
    """This file's routes first, then those of its policy files by name."""
    folder = tmp_path / "policies"
    folder.mkdir()
    (folder / "b.yaml").write_text("routes:\n  - {match: GET /b, price: $1, upstream: llm}\n")
    (folder / "a.yaml").write_text("routes:\n  - {match: GET /a, price: 'free', upstream: llm}\n")
    names = [route.name for route in example(tmp_path).table.routes]
    assert names[-2:] == ["GET /a", "GET /b"]


def test_route_options(tmp_path: Path) -> None:
    """Every key of a route."""
    text = (
        INTERFACE
        + """\
  - name: everything
    match:
      method: [GET, PUT]
      host: API.example.com
      path: /x/{a}
      query: {q: 1}
      headers: {X-A: b}
      body: {c.d: true}
    upstream: llm
    accept: x402
    price: {when: [{body.model: "gpt*", price: 0.05 USDC}], else: $0.01}
    settle: after
    success: [200, 3xx]
    on_lost_answer: release
    max_attempts: 2
    allow_encoded: [slash]
    description: d
    mime_type: application/json
    timeout: 1m
"""
    )
    route = example(tmp_path, text).table.routes[-1]
    assert route.name == "everything"
    assert route.methods == frozenset({"GET", "HEAD", "PUT"})
    assert (route.host, route.upstream, route.accept, route.settle) == (
        "api.example.com",
        "llm",
        ("x402",),
        "after",
    )
    assert [str(each) for each in route.conditions] == ["query.q=1", "headers.x-a=b", "body.c.d=true"]
    assert isinstance(route.price, Conditional)
    assert route.success == {200, *range(300, 400)}
    assert (route.max_attempts, route.allow_encoded, route.timeout) == (2, frozenset({"slash"}), 60.0)
    assert (route.description, route.mime_type) == ("d", "application/json")
    assert route.needs_body and not route.free


def test_unmatched_free(tmp_path: Path) -> None:
    """An upstream for everything else."""
    settings = example(tmp_path, INTERFACE.replace("unmatched: deny", "unmatched: {free: llm}"))
    assert settings.table.unmatched is not None
    assert settings.table.unmatched.upstream == "llm"


def test_admin_off(tmp_path: Path) -> None:
    """Unquoted, too."""
    assert example(tmp_path, INTERFACE.replace("admin: 127.0.0.1:8403", "admin: off")).server.admin is None


def test_loading_again(tmp_path: Path) -> None:
    """A reload reads everything anew, and an invalid file changes nothing but raises."""
    first = example(tmp_path)
    second = example(tmp_path, INTERFACE.replace("$0.01", "$0.03"))
    assert str(first.table.routes[0].price) == "$0.01"
    assert str(second.table.routes[0].price) == "$0.03"
    assert (first.server, first.store, first.rails) == (second.server, second.store, second.rails)
    with pytest.raises(ConfigError):
        example(tmp_path, INTERFACE.replace("$0.01", "$0"))


@pytest.mark.parametrize(
    ("old", "new", "warning"),
    [
        ("$0.05", "$1.01", "routes[2].price: is above $1: stock v2 clients refuse it"),
        ("$0.05", "0.11 USDC", "routes[2].price: is above $0.10: stock v1 clients"),
        ("    upstream: llm\n", "    upstream: weather\n", "upstreams.llm: is not used by any route"),
        ("${file:settlement_key}", "0x" + "0" * 63 + "1", "facilitator.key: is a published test key"),
        ("Seven-day forecast", "x" * 500, "routes[0].description: is over 480 characters long"),
    ],
)
def test_warnings(tmp_path: Path, old: str, new: str, warning: str) -> None:
    """Allowed, but said."""
    assert any(warning in line for line in example(tmp_path, INTERFACE.replace(old, new, 1)).warnings)


def test_a_public_url_is_missed_where_it_matters(tmp_path: Path) -> None:
    """Listening to everybody and telling them 127.0.0.1 is rarely meant."""
    text = re.sub(r"  public_url: .*\n", "", INTERFACE).replace("listen: 127.0.0.1", "listen: 0.0.0.0")
    assert any("set server.public_url" in line for line in example(tmp_path, text).warnings)


def test_a_world_readable_key(tmp_path: Path) -> None:
    """The key's file is for one user."""
    example(tmp_path)
    os.chmod(tmp_path / "settlement_key", 0o644)
    settings = load(tmp_path / "gateway.yaml", {"WEATHER_KEY": "w"})
    assert any("every user can read the key's file" in line for line in settings.warnings)


@pytest.mark.parametrize("file", sorted((REPO / "config").glob("**/*.yaml")), ids=lambda file: file.name)
def test_shipped_examples(file: Path) -> None:
    """What is shipped loads; the starter even without any environment."""
    environ = {} if file.name == "gateway.yaml" else ENVIRON
    assert load(file, environ).table.routes

"""Wrong configurations: each is refused with a message that says where and what, and none starts."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from gateway.errors import ConfigError
from gateway.settings import load

KEY = "0x" + "ab" * 32

GOOD = """\
server:
  listen: 127.0.0.1:8402
networks:
  localdev:
    chain_id: 84532
    v1_name: base-sepolia
    rpc: http://127.0.0.1:8545
upstreams:
  weather:
    url: http://127.0.0.1:9000
    timeout: 30s
rails:
  x402:
    pay_to: 0x70997970C51812dc3A010C7d01b50e0d17dc79C8
    networks: [localdev]
    max_timeout: 300s
    facilitator:
      key: ${KEY}
routes:
  - match: GET /v1/forecast/{city}
    price: $0.01
  - match: "* /health"
    price: free
"""


def problems(tmp_path: Path, text: str, **environ: str) -> list[str]:
    """What is said about a configuration, without the directory."""
    file = tmp_path / "gateway.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load(file, {"KEY": KEY} | environ)
    return [line.replace(f"{tmp_path}/", "") for line in caught.value.problems]


def test_the_good_one_is_good(tmp_path: Path) -> None:
    """What the others differ from loads."""
    file = tmp_path / "gateway.yaml"
    file.write_text(GOOD)
    assert load(file, {"KEY": KEY}).rails.names == ("x402",)


CASES = [json.loads(line) for line in Path(__file__).with_name("wrong.jsonl").read_text().splitlines()]
"""``old`` in the good configuration becomes ``new``; ``says`` is what some line then begins with."""


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["says"].partition(": ")[2])
def test_wrong(tmp_path: Path, case: dict[str, str]) -> None:
    """One change, one message, in its place."""
    assert case["old"] in GOOD
    found = problems(tmp_path, GOOD.replace(case["old"], case["new"], 1))
    file = "" if case["says"].startswith("nowhere") else "gateway.yaml:"
    assert any(line.startswith(file + case["says"]) for line in found), found


def test_there_are_enough_of_them() -> None:
    """Issue 2 asks for at least thirty."""
    assert len(CASES) >= 90


def test_everything_at_once(tmp_path: Path) -> None:
    """All problems of all files, in the order of the files and lines."""
    (tmp_path / "more.yaml").write_text("routes:\n  - match: GET /x\n    prize: $1\nsettle: before\n")
    text = GOOD.replace("server:\n", "policies: [more.yaml]\nserver:\n  workers: none\n")
    text = text.replace("timeout: 30s", "timeout: soon").replace("$0.01", "$0").replace("[localdev]", "[loc]")
    assert [re.split(r" \(|, `", line)[0] for line in problems(tmp_path, text)] == [
        "gateway.yaml:3:12: server.workers: must be a whole number",
        "gateway.yaml:13:14: upstreams.weather.timeout: must be a duration such as `250ms`",
        "gateway.yaml:17:16: rails.x402.networks[0]: unknown network `loc`",
        "gateway.yaml:23:12: routes[0].price: a price cannot be zero; say `free`",
        "more.yaml:2:5: routes[0].price: is required",
        "more.yaml:3:5: routes[0].prize: unknown key",
        "more.yaml:4:1: settle: unknown key",
    ]


def test_a_missing_file(tmp_path: Path) -> None:
    """One line, with the name that was given."""
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "no.yaml", {})
    assert caught.value.problems == (f"{tmp_path}/no.yaml:1:1: cannot be read: No such file or directory",)


@pytest.mark.parametrize("text", ["", "null\n", "{}\n"])
def test_an_empty_file(tmp_path: Path, text: str) -> None:
    """Says what is missing."""
    found = problems(tmp_path, text)
    assert "gateway.yaml:1:1: upstreams: is required: name at least one upstream" in found


@pytest.mark.parametrize("text", ["a\n", "- a\n", "1\n"])
def test_no_mapping(tmp_path: Path, text: str) -> None:
    """A configuration is a mapping."""
    assert problems(tmp_path, text) == ["gateway.yaml:1:1: must be a mapping of sections"]


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    """Bytes that are not UTF-8 are located, too; so are control characters."""
    file = tmp_path / "gateway.yaml"
    file.write_bytes(b"server:\n  listen: \xff\n")
    with pytest.raises(ConfigError, match=r"gateway.yaml:2:11: is not UTF-8 text"):
        load(file, {})
    file.write_bytes(b"server:\n  listen: \x01\n")
    with pytest.raises(ConfigError, match=r"gateway.yaml:2:11: holds a character"):
        load(file, {})


def test_paid_without_a_rail(tmp_path: Path) -> None:
    """A price nobody can pay is no price."""
    text = "upstreams: {a: {url: 'http://127.0.0.1:1'}}\nroutes: [{match: GET /, price: $1}]\n"
    assert problems(tmp_path, text) == [
        "gateway.yaml:2:32: routes[0].price: a paid route needs a rail: "
        "configure `rails.x402` or `rails.conxa`"
    ]


def test_permit2_only_assets(tmp_path: Path) -> None:
    """Known tokens that cannot be paid are named as such."""
    text = GOOD.replace("[localdev]", "[megaeth]").replace(
        "networks:\n", "networks:\n  megaeth: {rpc: 'http://a'}\n", 1
    )
    assert any(
        "network megaeth only has MegaUSD, paid by Permit2" in line for line in problems(tmp_path, text)
    )
    named = problems(tmp_path, text.replace("$0.01", "1 MegaUSD"))
    assert any("MegaUSD on megaeth takes only Permit2" in line for line in named)


def test_networks_without_dollars(tmp_path: Path) -> None:
    """A dollar price is not guessed to be a price in something else."""
    asset = "{address: 0x036CbD53842c5426634e7929541eC2318f3dCF7e, decimals: 18, name: W, version: '1'}"
    text = GOOD.replace("[localdev]", "[peaq]")
    none = text.replace("networks:\n", "networks:\n  peaq: {rpc: 'http://a'}\n", 1)
    assert any(
        "network peaq has no asset: name one in networks.peaq.assets" in line
        for line in problems(tmp_path, none)
    )
    other = text.replace(
        "networks:\n", f"networks:\n  peaq: {{rpc: 'http://a', assets: {{WETH: {asset}}}}}\n", 1
    )
    assert any(
        "has no dollar asset: write the price as `1 WETH`" in line for line in problems(tmp_path, other)
    )


def test_atomic_amounts_mean_one_thing(tmp_path: Path) -> None:
    """10000 units of six decimals are not 10000 units of eighteen."""
    asset = "{address: 0x036CbD53842c5426634e7929541eC2318f3dCF7e, decimals: 18, name: U, version: '1'}"
    text = GOOD.replace("[localdev]", "[localdev, peaq]").replace("$0.01", "{amount: 10000, asset: USDC}")
    text = text.replace(
        "networks:\n", f"networks:\n  peaq: {{rpc: 'http://a', assets: {{USDC: {asset}}}}}\n", 1
    )
    assert any("USDC has different decimals here" in line for line in problems(tmp_path, text))


def test_published_keys_are_refused_on_real_networks(tmp_path: Path) -> None:
    """The demo's key must not end up holding money."""
    text = GOOD.replace("[localdev]", "[base]").replace(
        "networks:\n", "networks:\n  base: {rpc: 'http://a'}\n", 1
    )
    anvil = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
    assert any("is a published test key" in line for line in problems(tmp_path, text, KEY=anvil))


SECRET = "canary-5f1d"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("pay_to: 0x70997970C51812dc3A010C7d01b50e0d17dc79C8", "pay_to: ${SECRET}"),
        ("key: ${KEY}", "key: ${SECRET}"),
        ("key: ${KEY}", f"key: {SECRET}"),
        ("key: ${KEY}", "key: ${file:secret}"),
        ("listen: 127.0.0.1:8402", "listen: ${SECRET}"),
        ("url: http://127.0.0.1:9000", "url: ${SECRET}"),
        ("url: http://127.0.0.1:9000", "url: http://${SECRET}@a"),
        ("timeout: 30s", "timeout: ${SECRET}"),
        ("timeout: 30s", 'headers: {Authorization: "${SECRET}\u0001"}'),
        ("rpc: http://127.0.0.1:8545", "rpc: ${SECRET}"),
        ("v1_name: base-sepolia", "v1_name: ${SECRET}"),
        ("chain_id: 84532", "chain_id: ${SECRET}"),
        ("networks: [localdev]", 'networks: ["${SECRET}"]'),
        ("$0.01", "${SECRET}"),
        ("$0.01", '{amount: "${SECRET}", asset: USDC}'),
        ("$0.01", '{amount: "1", asset: "${SECRET}"}'),
        ("$0.01", "1 ${SECRET}"),
        ("GET /v1/forecast/{city}", "${SECRET} /x"),
        ("GET /v1/forecast/{city}", "GET ${SECRET}"),
        ("    price: $0.01", "    price: $0.01\n    upstream: ${SECRET}"),
        ("    price: $0.01", "    price: $0.01\n    accept: ${SECRET}"),
        ("    price: $0.01", "    price: $0.01\n    success: ${SECRET}"),
        ("    price: $0.01", "    price: $0.01\n    settle: ${SECRET}"),
        ("server:\n", "unmatched: {free: '${SECRET}'}\nserver:\n"),
        ("server:\n", "unmatched: ${SECRET}\nserver:\n"),
        ("server:\n", "store: {url: '${SECRET}'}\nserver:\n"),
        ("server:\n", "server:\n  admin_token: '${SECRET}'\n  admin: 0.0.0.0\n"),
        ("server:\n", "server:\n  public_url: ${SECRET}\n"),
        ("server:\n", "server:\n  trusted_proxies: ['${SECRET}']\n"),
    ],
)
def test_secrets_are_never_echoed(tmp_path: Path, old: str, new: str) -> None:
    """Whatever came from the environment or a file may be a secret."""
    (tmp_path / "secret").write_text(SECRET)
    found = problems(tmp_path, GOOD.replace(old, new, 1), SECRET=SECRET)
    assert found
    assert SECRET not in "\n".join(found)

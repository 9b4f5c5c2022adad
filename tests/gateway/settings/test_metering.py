"""What a route's ``conxa`` section may say."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.errors import ConfigError
from gateway.settings import load
from policies.route import Metering

GOOD = """
upstreams: {llm: {url: "http://127.0.0.1:9000"}}
rails: {conxa: {api_key: pk_test_acme_x}}
routes:
  - match: POST /v1/chat
    price: $0.02
    conxa: {meter: openai}
"""


def configured(folder: Path, text: str) -> Metering | None:
    file = folder / "gateway.yaml"
    file.write_text(text)
    return load(file, {}).table.routes[0].metering


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("{meter: openai}", Metering("openai")),
        ("{meter: openai, include_usage: true}", Metering("openai", ask_usage=True)),
        ("{meter: anthropic, model: claude}", Metering("anthropic", "claude")),
        ("{model: flat, input_tokens: 100, output_tokens: 0}", Metering("flat", "flat", 100)),
        ("{meter: flat, model: picture, output_tokens: 7}", Metering("flat", "picture", 0, 7)),
    ],
)
def test_ways_to_count(tmp_path: Path, said: str, meant: Metering) -> None:
    assert configured(tmp_path, GOOD.replace("{meter: openai}", said)) == meant


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("{meter: openai}", "{}", "routes[0].conxa: needs `meter`, or a `model` with"),
        ("{meter: openai}", "{model: flat}", "routes[0].conxa: needs `meter`, or a `model` with"),
        ("{meter: openai}", "{meter: flat, input_tokens: 1}", "routes[0].conxa: needs `meter`, or a `model`"),
        ("{meter: openai}", "{meter: gemini, input_tokens: 5}", "routes[0].conxa: `meter: gemini` counts"),
        (
            "{meter: openai}",
            "{meter: gemini, include_usage: true}",
            "routes[0].conxa.include_usage: only means",
        ),
        ("{meter: openai}", "{meter: opanai}", "routes[0].conxa.meter: "),
        (
            "{meter: openai}",
            "{meter: openai}\n    settle: before",
            "routes[0].settle: `before` takes a charge",
        ),
        ("    conxa: {meter: openai}\n", "", "routes[0]: only `conxa` is configured, and needs to know"),
        ("    conxa: {meter: openai}\n", "    accept: conxa\n", "routes[0].accept: `conxa` needs to know"),
        ("price: $0.02", "price: free", "routes[0].conxa: this route is not paid by rail `conxa`"),
    ],
)
def test_wrong(tmp_path: Path, old: str, new: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        configured(tmp_path, GOOD.replace(old, new))
    assert any(says in problem for problem in caught.value.problems), caught.value.problems


def test_before_is_possible_where_the_charge_is_known(tmp_path: Path) -> None:
    flat = "{model: flat, input_tokens: 1}\n    settle: before"
    assert configured(tmp_path, GOOD.replace("{meter: openai}", flat)) == Metering("flat", "flat", 1)


@pytest.mark.parametrize(
    ("key", "given", "provider"),
    [
        ("pk_live_acme_1", "", "acme"),
        ("no-parts", ", provider_id: mine", "mine"),
        ("pk_test__x", ", provider_id: mine", "mine"),
    ],
)
def test_the_provider_as_the_sdk_finds_it(tmp_path: Path, key: str, given: str, provider: str) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(GOOD.replace("pk_test_acme_x", key + given))
    conxa = load(file, {}).rails.conxa
    assert conxa is not None and conxa.provider_id == provider and key not in repr(conxa)


def test_a_route_takes_what_can_pay_for_it(tmp_path: Path) -> None:
    """Beside x402, a route without a meter is paid by x402 only."""
    text = GOOD.replace("    conxa: {meter: openai}\n", "") + (
        "  - {match: POST /v1/more, price: $0.02, conxa: {meter: openai}}\n"
    )
    text = text.replace(
        "rails: {",
        "networks: {n: {chain_id: 84532, rpc: 'http://127.0.0.1:1'}}\n"
        "rails: {x402: {pay_to: '0x209693Bc6afc0C5328bA36FaF03C514EF312287C', networks: [base-sepolia],"
        f" facilitator: {{key: '0x{'12' * 32}'}}}}, ",
    ).replace("networks: {n: ", "networks: {base-sepolia: ")
    file = tmp_path / "gateway.yaml"
    file.write_text(text)
    accepted = [route.accept for route in load(file, {}).table.routes]
    assert accepted == [("x402",), ("x402", "conxa")]

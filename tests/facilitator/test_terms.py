"""Matching a credential with our own requirements."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from facilitator.base import Refused
from facilitator.terms import match, same_resource
from facilitator.wire import PaymentRequirements


def reason(found: PaymentRequirements | Refused) -> str:
    assert isinstance(found, Refused)
    return found.reason


def test_ours_is_returned(payer: Any, terms: PaymentRequirements) -> None:
    other = replace(terms, network="eip155:8453", chain_id=8453, v1_network="base")
    dearer = replace(terms, amount=20_000)
    for version in (1, 2):
        assert match(payer.pay(terms, version=version), [other, dearer, terms]) is terms


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"scheme": "upto"}, "unsupported_scheme"),
        ({"network": "eip155:1"}, "invalid_network"),
        ({"v1_network": "base"}, "invalid_network"),
    ],
)
def test_scheme_and_network(
    change: dict[str, Any], code: str, payer: Any, terms: PaymentRequirements
) -> None:
    version = 1 if "v1_network" in change else 2
    assert reason(match(payer.pay(replace(terms, **change), version=version), [terms])) == code


@pytest.mark.parametrize(
    "change",
    [
        {"amount": "10001"},
        {"amount": "010000"},
        {"asset": "0x" + "11" * 20},
        {"payTo": "0x" + "11" * 20},
        {"maxTimeoutSeconds": 301},
        {"maxTimeoutSeconds": 300.0},
        {"maxTimeoutSeconds": None},
        {"extra": None},
        {"extra": {"name": "USDC"}},
        {"extra": {"name": "USDC", "version": 2}},
    ],
)
def test_the_echo_must_be_ours(change: dict[str, Any], payer: Any, terms: PaymentRequirements) -> None:
    payload = payer.pay(terms)
    payload = replace(payload, accepted=payload.accepted | change)
    assert reason(match(payload, [terms])) == "invalid_payment_requirements"


def test_case_of_addresses_and_more_extra_are_tolerated(payer: Any, terms: PaymentRequirements) -> None:
    payload = payer.pay(terms)
    echo = payload.accepted | {"asset": terms.asset.lower(), "payTo": "0x" + terms.pay_to[2:].upper()}
    echo["extra"] = echo["extra"] | {"more": 1}
    assert match(replace(payload, accepted=echo), [terms]) == terms


@pytest.mark.parametrize(
    ("version", "suffix"), [(1, "authorization_value"), (2, "authorization_value_mismatch")]
)
@pytest.mark.parametrize("value", [9_999, 10_001, 0])
def test_value_is_equal_to_the_unit(
    version: int, suffix: str, value: int, payer: Any, terms: PaymentRequirements
) -> None:
    payload = payer.pay(terms, version=version, value=value)
    assert reason(match(payload, [terms])) == f"invalid_exact_evm_payload_{suffix}"


def test_recipient(payer: Any, terms: PaymentRequirements) -> None:
    payload = payer.pay(terms, to="0x" + "11" * 20)
    assert reason(match(payload, [terms])) == "invalid_exact_evm_payload_recipient_mismatch"


def test_resource(payer: Any, terms: PaymentRequirements) -> None:
    payload = payer.pay(terms)
    assert same_resource(payload, "https://a/b")
    echoed = replace(payload, resource_url="https://a/b?x=1")
    assert same_resource(echoed, "https://a/b")
    assert not same_resource(echoed, "https://a/c")

"""Digest and recovery against eth-account and the official SDK."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_utils.crypto import keccak as oracle_keccak
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from facilitator.base import Accepted, Refused
from facilitator.exact_evm import (
    SECP256K1_N,
    check_time,
    digest,
    domain_separator,
    recover,
    replay_key,
    verify_signature,
)
from facilitator.wire import Authorization, PaymentRequirements

TYPES = {
    "TransferWithAuthorization": [
        {"name": "from", "type": "address"},
        {"name": "to", "type": "address"},
        {"name": "value", "type": "uint256"},
        {"name": "validAfter", "type": "uint256"},
        {"name": "validBefore", "type": "uint256"},
        {"name": "nonce", "type": "bytes32"},
    ]
}

uint256 = st.integers(0, 2**256 - 1)
address = st.binary(min_size=20, max_size=20).map(lambda raw: "0x" + raw.hex())
authorizations = st.builds(
    Authorization, address, address, uint256, uint256, uint256, st.binary(min_size=32, max_size=32)
)
tokens = st.tuples(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    st.integers(1, 2**53),
    address,
)
secrets = st.integers(1, SECP256K1_N - 1).map(lambda number: number.to_bytes(32, "big"))


def of(token: tuple[str, str, int, str]) -> PaymentRequirements:
    name, version, chain_id, asset = token
    return PaymentRequirements(
        "exact", f"eip155:{chain_id}", chain_id, None, asset, 1, "0x" + "00" * 20, 60, name, version
    )


def typed(authorization: Authorization, terms: PaymentRequirements) -> Any:
    domain = {
        "name": terms.name,
        "version": terms.version,
        "chainId": terms.chain_id,
        "verifyingContract": terms.asset,
    }
    message = {
        "from": authorization.sender,
        "to": authorization.to,
        "value": authorization.value,
        "validAfter": authorization.valid_after,
        "validBefore": authorization.valid_before,
        "nonce": authorization.nonce,
    }
    return encode_typed_data(domain, TYPES, message)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(authorizations, tokens, secrets)
def test_eth_account_agrees(authorization: Authorization, token: Any, secret: bytes) -> None:
    terms = of(token)
    oracle = typed(authorization, terms)
    assert digest(authorization, terms) == oracle_keccak(
        b"\x19" + oracle.version + oracle.header + oracle.body
    )
    assert domain_separator(terms.name, terms.version, terms.chain_id, terms.asset) == oracle.header
    signed = Account.sign_message(oracle, secret)
    assert (
        recover(digest(authorization, terms), bytes(signed.signature))
        == Account.from_key(secret).address.lower()
    )


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(min_size=32, max_size=32), st.binary(min_size=65, max_size=65))
def test_any_signature_has_an_answer(message: bytes, signature: bytes) -> None:
    found = recover(message, signature)
    assert found is None or len(found) == 42


def test_the_sdk_signer(terms: PaymentRequirements) -> None:
    from x402.mechanisms.evm.exact import ExactEvmClientScheme
    from x402.schemas import PaymentRequirements as Theirs

    from facilitator.challenge import requirement_v2
    from facilitator.wire import read_payment

    account = Account.create()
    inner = ExactEvmClientScheme(account).create_payment_payload(Theirs.model_validate(requirement_v2(terms)))
    payload = read_payment({"x402Version": 2, "accepted": requirement_v2(terms), "payload": inner}, 2)
    assert payload.authorization.sender == account.address.lower()
    assert verify_signature(payload, terms) == Accepted()


def refused(payload: Any, terms: PaymentRequirements) -> bool:
    found = verify_signature(payload, terms)
    return isinstance(found, Refused) and found.reason == "invalid_exact_evm_payload_signature"


@pytest.mark.parametrize("v", range(256))
def test_v(v: int, payer: Any, terms: PaymentRequirements) -> None:
    payload = payer.pay(terms)
    right = payload.signature[64]
    changed = replace(payload, signature=payload.signature[:64] + bytes([v]))
    assert refused(changed, terms) != (v in (right, right - 27))


def test_high_s(payer: Any, terms: PaymentRequirements) -> None:
    payload = payer.pay(terms)
    s = SECP256K1_N - int.from_bytes(payload.signature[32:64], "big")
    twin = payload.signature[:32] + s.to_bytes(32, "big") + bytes([55 - payload.signature[64]])
    assert refused(replace(payload, signature=twin), terms)


@pytest.mark.parametrize("length", [0, 1, 64, 66, 96, 4096])
def test_only_65_bytes(length: int, payer: Any, terms: PaymentRequirements) -> None:
    payload = payer.pay(terms)
    assert refused(replace(payload, signature=(payload.signature * 64)[:length]), terms)


def test_compact_and_wrapped(payer: Any, terms: PaymentRequirements) -> None:
    payload = payer.pay(terms)
    compact = payload.signature[:64]
    wrapped = payload.signature + bytes.fromhex("6492" * 16)
    assert refused(replace(payload, signature=compact), terms)
    assert refused(replace(payload, signature=wrapped), terms)


@pytest.mark.parametrize("signature", [bytes(65), b"\xff" * 65, bytes(64) + b"\x1b", b"\x01" * 64 + b"\x1b"])
def test_what_recovers_to_nobody(signature: bytes, payer: Any, terms: PaymentRequirements) -> None:
    payload = payer.pay(terms)
    assert refused(replace(payload, signature=signature), terms)
    nobody = replace(payload.authorization, sender="0x" + "00" * 20)
    assert refused(replace(payload, signature=signature, authorization=nobody), terms)


@pytest.mark.parametrize(
    "change", [{"name": "USD Coin"}, {"version": "1"}, {"chain_id": 1}, {"asset": "0x" + "11" * 20}]
)
def test_another_domain(change: dict[str, Any], payer: Any, terms: PaymentRequirements) -> None:
    assert refused(payer.pay(replace(terms, **change)), terms)


def test_someone_elses_signature(new_payer: Any, terms: PaymentRequirements) -> None:
    mine, yours = new_payer().pay(terms), new_payer().pay(terms)
    assert refused(replace(mine, signature=yours.signature), terms)


@pytest.mark.parametrize(
    ("after", "before", "budget", "reason"),
    [
        (0, 1060, 60, None),
        (0, 1059, 60, "valid_before"),
        (0, 1000, 0, "valid_before"),
        (0, 1001, 0, None),
        (0, 1, 60, "valid_before"),
        (1000, 2000, 60, None),
        (1001, 2000, 60, "valid_after"),
        (0, 2**256 - 1, 60, None),
        (2**256 - 1, 2**256 - 1, 60, "valid_after"),
    ],
)
def test_time(
    after: int, before: int, budget: int, reason: str | None, payer: Any, terms: PaymentRequirements
) -> None:
    authorization = payer.authorize(terms, valid_after=after, valid_before=before)
    found = check_time(authorization, 1000, budget)
    assert (found is None) if reason is None else (found is not None and found.reason.endswith(reason))


def test_replay_key(payer: Any, terms: PaymentRequirements) -> None:
    authorization = payer.authorize(terms, nonce=b"\xab" * 32)
    key = replay_key(terms.chain_id, terms.asset, authorization)
    assert key == f"84532:{terms.asset.lower()}:{payer.address}:0x{'ab' * 32}"


def test_verifying_never_loads_web3() -> None:
    heavy = {"web3", "eth_account", "eth_abi", "eth_utils"}
    code = f"import sys, facilitator.local; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

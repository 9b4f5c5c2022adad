"""Calldata, reverts and logs against web3 and eth-abi."""

from __future__ import annotations

from typing import Any

import pytest
from eth_abi.abi import encode
from web3 import Web3

from facilitator import token_abi
from facilitator.rpc import RpcError
from facilitator.wire import PaymentRequirements
from gateway.devchain.token import artefact


def contract() -> Any:
    return Web3().eth.contract(address=Web3.to_checksum_address("0x" + "11" * 20), abi=artefact()["abi"])


def test_calldata(payer: Any, terms: PaymentRequirements) -> None:
    payload = payer.pay(terms)
    one, signature = payload.authorization, payload.signature
    sender = Web3.to_checksum_address(one.sender)
    name = "transferWithAuthorization(address,address,uint256,uint256,uint256,bytes32,uint8,bytes32,bytes32)"
    signed = (signature[64], signature[:32], signature[32:64])
    plain = (sender, terms.pay_to, one.value, one.valid_after, one.valid_before, one.nonce)
    expected = contract().encode_abi(name, [*plain, *signed])
    assert token_abi.transfer_with_authorization(one, signature) == expected
    low = signature[:64] + bytes([signature[64] - 27])
    assert token_abi.transfer_with_authorization(one, low) == expected
    assert expected.startswith("0xe3ee160e")
    assert token_abi.balance_of(sender) == contract().encode_abi("balanceOf", [sender])
    assert token_abi.is_blacklisted(sender) == contract().encode_abi("isBlacklisted", [sender])
    assert token_abi.authorization_state(sender, one.nonce) == contract().encode_abi(
        "authorizationState", [sender, one.nonce]
    )


def reverted(text: str) -> RpcError:
    return RpcError(3, "execution reverted", "0x08c379a0" + encode(["string"], [text]).hex())


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("FiatTokenV2: authorization is expired", "invalid_exact_evm_payload_authorization_valid_before"),
        (
            "FiatTokenV2: authorization is not yet valid",
            "invalid_exact_evm_payload_authorization_valid_after",
        ),
        ("FiatTokenV2: authorization is used or canceled", "invalid_exact_evm_nonce_already_used"),
        ("FiatTokenV2: invalid signature", "invalid_exact_evm_payload_signature"),
        ("ERC20: transfer amount exceeds balance", "insufficient_funds"),
        ("Pausable: paused", "invalid_exact_evm_transaction_simulation_failed"),
        ("Blacklistable: account is blacklisted", "invalid_exact_evm_transaction_simulation_failed"),
        ("¿qué?", "invalid_exact_evm_transaction_simulation_failed"),
    ],
)
def test_circles_texts(text: str, reason: str) -> None:
    refused = token_abi.refusal(reverted(text))
    assert (refused.reason, refused.detail) == (reason, text)
    in_message = token_abi.refusal(RpcError(-32000, f"execution reverted: {text}", None))
    assert in_message.reason == reason


@pytest.mark.parametrize("data", ["0x", "0x08c379a0", "0x08c379a0" + "ff" * 64, "0xdeadbeef", "0x08c379a0zz"])
def test_odd_revert_data(data: str) -> None:
    assert token_abi.refusal(RpcError(3, "execution reverted", data)).reason.endswith("simulation_failed")


def test_a_nodes_refusal_is_no_revert() -> None:
    assert not token_abi.is_revert(RpcError(-32005, "rate limited", None))
    assert token_abi.is_revert(RpcError(-32000, "execution reverted", None))

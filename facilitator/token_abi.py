"""The few functions and events of an EIP-3009 token that are used, encoded by hand, and its reverts read.

Source: EIP-20, EIP-3009, the Solidity ABI specification, Circle's FiatTokenV2_2.
"""

from __future__ import annotations

from facilitator.base import Refused
from facilitator.exact_evm import INVALID_SIGNATURE, VALID_AFTER, VALID_BEFORE, encode, keccak
from facilitator.rpc import RpcError
from facilitator.wire import Authorization

NONCE_USED = "invalid_exact_evm_nonce_already_used"
INSUFFICIENT_FUNDS = "insufficient_funds"
NO_CONTRACT = "asset_not_deployed_contract"
NOT_EIP3009 = "invalid_exact_evm_eip3009_not_supported"
SIMULATION_FAILED = "invalid_exact_evm_transaction_simulation_failed"

_REASONS = {
    "authorization is expired": VALID_BEFORE,
    "authorization is not yet valid": VALID_AFTER,
    "authorization is used or canceled": NONCE_USED,
    "invalid signature": INVALID_SIGNATURE,
    "transfer amount exceeds balance": INSUFFICIENT_FUNDS,
}
"""Parts of Circle's revert texts; pause and blacklist have no x402 code of their own."""

_ERROR_STRING = "0x08c379a0"


def selector(signature: str) -> str:
    """The four bytes that name a function, as 0x-hex."""
    return "0x" + keccak(signature.encode())[:4].hex()


def topic(signature: str) -> str:
    """The word that names an event, as 0x-hex."""
    return "0x" + keccak(signature.encode()).hex()


TRANSFER = topic("Transfer(address,address,uint256)")
AUTHORIZATION_USED = topic("AuthorizationUsed(address,bytes32)")
AUTHORIZATION_CANCELED = topic("AuthorizationCanceled(address,bytes32)")

_TRANSFER_WITH_AUTHORIZATION = selector(
    "transferWithAuthorization(address,address,uint256,uint256,uint256,bytes32,uint8,bytes32,bytes32)"
)
_AUTHORIZATION_STATE = selector("authorizationState(address,bytes32)")
_BALANCE_OF = selector("balanceOf(address)")
_IS_BLACKLISTED = selector("isBlacklisted(address)")


def transfer_with_authorization(authorization: Authorization, signature: bytes) -> str:
    """Calldata of the (v, r, s) overload for a 65-byte signature; v becomes 27 or 28, as tokens want it."""
    v = signature[64] if signature[64] >= 27 else signature[64] + 27
    words = encode(authorization) + v.to_bytes(32, "big") + signature[:64]
    return _TRANSFER_WITH_AUTHORIZATION + words.hex()


def authorization_state(authorizer: str, nonce: bytes) -> str:
    """Calldata of EIP-3009's ``authorizationState``: true once used or cancelled."""
    return _AUTHORIZATION_STATE + address_word(authorizer) + nonce.hex()


def balance_of(owner: str) -> str:
    """Calldata of EIP-20's ``balanceOf``."""
    return _BALANCE_OF + address_word(owner)


def is_blacklisted(account: str) -> str:
    """Calldata of Circle's ``isBlacklisted``."""
    return _IS_BLACKLISTED + address_word(account)


def address_word(address: str) -> str:
    """An address as a 32-byte word, hex without prefix."""
    return address.lower().removeprefix("0x").rjust(64, "0")


def string(answer: str) -> str:
    """A returned string; ValueError if it is none."""
    data = bytes.fromhex(answer[2:])
    start = int.from_bytes(data[:32], "big") + 32
    length = int.from_bytes(data[start - 32 : start], "big")
    text = data[start : start + length]
    if len(text) != length or start < 64:
        raise ValueError("not an ABI string")
    return text.decode()


def is_revert(error: RpcError) -> bool:
    """Whether the contract said no, rather than the node: code 3 (geth, anvil), data, or the text."""
    return error.code == 3 or error.data is not None or "revert" in error.message.lower()


def revert_text(error: RpcError) -> str:
    """What the contract said: the ``Error(string)`` in the data, else the node's message."""
    if error.data is not None and error.data.startswith(_ERROR_STRING):
        try:
            return string("0x" + error.data[10:])
        except ValueError:
            return error.message
    return error.message


def refusal(error: RpcError) -> Refused:
    """The x402 reason behind a revert."""
    text = revert_text(error)
    reason = next((reason for part, reason in _REASONS.items() if part in text), SIMULATION_FAILED)
    return Refused(reason, text[:200])

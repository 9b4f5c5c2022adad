"""``exact`` on EVM by EIP-3009, the part that needs no chain: digest, recovery, time.

Pure and light: three Keccak-256 over a fixed layout (EIP-712) and one secp256k1
recovery. eth-account does the same in general and is the oracle in the tests.
"""

from __future__ import annotations

from functools import lru_cache

import sha3
from coincurve import PublicKey

from facilitator.base import Accepted, Refused
from facilitator.terms import check_signed_terms
from facilitator.wire import Authorization, PaymentPayload, PaymentRequirements

INVALID_SIGNATURE = "invalid_exact_evm_payload_signature"
VALID_BEFORE = "invalid_exact_evm_payload_authorization_valid_before"
VALID_AFTER = "invalid_exact_evm_payload_authorization_valid_after"

SECP256K1_N = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141
HALF_N = SECP256K1_N // 2

_RECOVERY_ID = {0: b"\x00", 1: b"\x01", 27: b"\x00", 28: b"\x01"}


def keccak(data: bytes) -> bytes:
    """Keccak-256 as Ethereum uses it (before FIPS 202's padding)."""
    digest: bytes = sha3.keccak_256(data).digest()
    return digest


_DOMAIN_TYPE = keccak(b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)")
_TRANSFER_TYPE = keccak(
    b"TransferWithAuthorization(address from,address to,uint256 value,"
    b"uint256 validAfter,uint256 validBefore,bytes32 nonce)"
)


@lru_cache(maxsize=1024)
def domain_separator(name: str, version: str, chain_id: int, contract: str) -> bytes:
    """EIP-712 domain separator of a token; ``contract`` is its address in any case."""
    return keccak(
        _DOMAIN_TYPE
        + keccak(name.encode())
        + keccak(version.encode())
        + chain_id.to_bytes(32, "big")
        + _word(contract)
    )


def digest(authorization: Authorization, requirements: PaymentRequirements) -> bytes:
    """What the payer signed: EIP-712 over EIP-3009's TransferWithAuthorization, in our token's domain."""
    domain = domain_separator(
        requirements.name, requirements.version, requirements.chain_id, requirements.asset
    )
    return keccak(b"\x19\x01" + domain + keccak(_TRANSFER_TYPE + encode(authorization)))


def encode(authorization: Authorization) -> bytes:
    """The six fields as 32-byte words, in the order of both the EIP-712 struct and the ABI."""
    return (
        _word(authorization.sender)
        + _word(authorization.to)
        + authorization.value.to_bytes(32, "big")
        + authorization.valid_after.to_bytes(32, "big")
        + authorization.valid_before.to_bytes(32, "big")
        + authorization.nonce
    )


def _word(address: str) -> bytes:
    return bytes(12) + bytes.fromhex(address[2:])


def recover(message: bytes, signature: bytes) -> str | None:
    """The lower-case address that signed the 32-byte ``message``, or None.

    Only r || s || v with s in the lower half (EIP-2) and v in {0, 1, 27, 28}: no EIP-2098,
    no ERC-1271, no ERC-6492. Remembered, because a payment is looked at more than once.
    """
    if len(signature) != 65 or signature[64] not in _RECOVERY_ID:
        return None
    if int.from_bytes(signature[32:64], "big") > HALF_N:
        return None
    return _recover(message, signature[:64] + _RECOVERY_ID[signature[64]])


@lru_cache(maxsize=4096)
def _recover(message: bytes, signature: bytes) -> str | None:
    try:
        return address_of(PublicKey.from_signature_and_message(signature, message, hasher=None))
    except ValueError:
        return None


def address_of(key: PublicKey) -> str:
    """The lower-case address of a public key: the last 20 bytes of its Keccak-256."""
    return "0x" + keccak(key.format(compressed=False)[1:])[12:].hex()


def verify_signature(payload: PaymentPayload, requirements: PaymentRequirements) -> Accepted | Refused:
    """Signed recipient and value, then the EOA's signature, all against our own copy of the terms."""
    refused = check_signed_terms(payload, requirements)
    if refused is not None:
        return refused
    authorization = payload.authorization
    if recover(digest(authorization, requirements), payload.signature) != authorization.sender:
        return Refused(INVALID_SIGNATURE, "not a plain low-s signature of authorization.from")
    return Accepted()


def check_time(authorization: Authorization, now: int, work_budget: int) -> Refused | None:
    """Whether the authorization is valid and outlives the work (unix seconds; seconds).

    Refused when ``validBefore - now < work_budget`` or ``validAfter > now``. Source: EIP-3009;
    the budget takes the place of the SDKs' fixed six seconds.
    """
    if authorization.valid_before - now < work_budget or authorization.valid_before <= now:
        return Refused(VALID_BEFORE, f"must stay valid for {work_budget} s")
    if authorization.valid_after > now:
        return Refused(VALID_AFTER, "not yet valid")
    return None


def replay_key(chain_id: int, asset: str, authorization: Authorization) -> str:
    """What can be spent once: chain, token, payer and nonce, lower-case, as they were signed."""
    return f"{chain_id}:{asset.lower()}:{authorization.sender}:0x{authorization.nonce.hex()}"

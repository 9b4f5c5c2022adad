"""What a token and an account say of themselves, for ``check --online``.

Every function raises RpcUnavailable when the chain gives no answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from facilitator import token_abi
from facilitator.chain import read, word
from facilitator.rpc import Rpc, RpcError, RpcUnavailable, quantity


@dataclass(frozen=True, slots=True)
class TokenFacts:
    """A token's own description; None where it does not answer."""

    deployed: bool
    name: str | None
    version: str | None
    decimals: int | None
    domain_separator: bytes | None
    """EIP-712; compare with ``exact_evm.domain_separator``."""


async def token_facts(rpc: Rpc, asset: str) -> TokenFacts:
    """Code, name, version, decimals and domain separator in one round trip."""
    views = ("name()", "version()", "decimals()", "DOMAIN_SEPARATOR()")
    calls = [read(asset, token_abi.selector(each), "latest") for each in views]
    code, *answers = await rpc.batch([("eth_getCode", (asset, "latest")), *calls])
    name, version, decimals, separator = (_or_none(each) for each in answers)
    return TokenFacts(
        deployed=isinstance(code, str) and len(code) > 2,
        name=_string_or_none(name),
        version=_string_or_none(version),
        decimals=None if decimals is None else word(decimals),
        domain_separator=None if separator is None else word(separator).to_bytes(32, "big"),
    )


async def native_balance(rpc: Rpc, address: str) -> int:
    """Wei."""
    return quantity(await rpc.call("eth_getBalance", address, "latest"))


async def is_blacklisted(rpc: Rpc, asset: str, account: str) -> bool | None:
    """Whether the token refuses this account; None when it keeps no such list."""
    method, params = read(asset, token_abi.is_blacklisted(account), "latest")
    answer = _or_none(await rpc.call(method, *params))
    return None if answer is None else word(answer) != 0


def _or_none(answer: Any) -> str | None:
    """What a view returned; None where the contract has no such function."""
    if isinstance(answer, RpcError) and not token_abi.is_revert(answer):
        raise RpcUnavailable(f"eth_call: {answer.message}")
    return answer if isinstance(answer, str) and len(answer) >= 66 else None


def _string_or_none(answer: str | None) -> str | None:
    if answer is None:
        return None
    try:
        return token_abi.string(answer)
    except ValueError:
        return None

"""What a receipt shows of authorizations and money, read once for all the payments it may prove."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from facilitator.rpc import RpcUnavailable
from facilitator.token_abi import AUTHORIZATION_USED, TRANSFER, address_word
from facilitator.wire import Authorization


class _Log(NamedTuple):
    topics: list[str]
    data: str

    @property
    def used(self) -> bool:
        return self.topics[0] == AUTHORIZATION_USED and len(self.topics) == 3

    @property
    def moved(self) -> bool:
        return self.topics[0] == TRANSFER and len(self.topics) == 3


_Money = tuple[str, str]
"""The receiver's topic and the amount's word."""


class Moves:
    """The authorizations a receipt shows as used, each with the transfer beside it.

    Of several equal transfers by one payer each vouches for one authorization only: the one whose log
    stands next to it among a token's own, before it (EIP-3009, Circle's tokens) or behind it, whichever
    way gives more of them a transfer. A receipt with another status than 1 shows nothing.
    """

    def __init__(self, receipt: Mapping[str, Any]) -> None:
        """RpcUnavailable when it is no receipt at all."""
        self._uses: dict[tuple[str, str, str], _Money | None] = {}
        for token, logs in _by_token(receipt).items():
            self._uses |= {(token, *use): money for use, money in _paired(logs).items()}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Moves) and other._uses == self._uses

    __hash__ = None  # type: ignore[assignment]

    def __len__(self) -> int:
        """How many authorizations moved money."""
        return _known(self._uses)

    def used(self, asset: str, authorization: Authorization) -> bool:
        """Whether this authorization's nonce was used, for whatever: from this very token,
        ``AuthorizationUsed(from, nonce)``."""
        return _key(asset, authorization) in self._uses

    def paid(self, asset: str, authorization: Authorization) -> bool:
        """Whether this authorization's money moved: ``used``, and beside it ``Transfer(from, to, value)``."""
        money = "0x" + address_word(authorization.to), "0x" + authorization.value.to_bytes(32, "big").hex()
        return self._uses.get(_key(asset, authorization)) == money


def _key(asset: str, authorization: Authorization) -> tuple[str, str, str]:
    return asset.lower(), "0x" + address_word(authorization.sender), "0x" + authorization.nonce.hex()


def _by_token(receipt: Mapping[str, Any]) -> dict[str, list[_Log]]:
    """The logs of uses and transfers, in order, by the contract that wrote them."""
    found: dict[str, list[_Log]] = {}
    try:
        if receipt["status"] != "0x1":
            return {}
        for each in receipt["logs"]:
            log = _Log(each["topics"], each["data"])
            if log.topics and (log.used or log.moved):
                found.setdefault(each["address"].lower(), []).append(log)
    except (KeyError, TypeError, AttributeError) as error:
        raise RpcUnavailable("not a receipt") from error
    return found


def _paired(logs: Sequence[_Log]) -> dict[tuple[str, str], _Money | None]:
    """(payer, nonce) of each use, and what moved beside it."""
    before, behind = _beside(logs, 1), _beside(logs, -1)
    return behind if _known(behind) > _known(before) else before


def _beside(logs: Sequence[_Log], way: int) -> dict[tuple[str, str], _Money | None]:
    found: dict[tuple[str, str], _Money | None] = {}
    for at, log in enumerate(logs):
        if log.used:
            _, payer, nonce = log.topics
            there = logs[at + way] if 0 <= at + way < len(logs) else None
            beside = there is not None and there.moved and there.topics[1] == payer
            found[payer, nonce] = (there.topics[2], there.data) if there is not None and beside else None
    return found


def _known(pairs: Mapping[Any, _Money | None]) -> int:
    return sum(money is not None for money in pairs.values())

"""What the chain says of several payments before they leave together: one round trip for all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from facilitator import multicall, token_abi
from facilitator.base import Due
from facilitator.chain import Block, ChainClient, count_of, read
from facilitator.rounds import Call
from facilitator.rpc import RpcUnavailable, quantity

_MOST_ALONE = 250_000
"""Units of gas above which a token's transfers are not taken together: the first one looked at may
belong to a payer whose wallet is a contract."""

_BASE = 21_000
"""Units of gas any transaction costs."""


class Item:
    """A payment and the call that settles it."""

    __slots__ = ("asset", "data", "due")

    def __init__(self, due: Due) -> None:
        self.due = due
        self.asset = due.requirements.asset
        payload = due.exact
        self.data = token_abi.transfer_with_authorization(payload.authorization, payload.signature)


class Costs:
    """What a transfer needs for gas when it goes alone, by token.

    Together each gets a quarter more than that: what it saves (its own 21,000 above all) is room for the
    call around it, for the 64th that a call keeps back (EIP-150), and for a payee's first balance.
    """

    def __init__(self) -> None:
        self._alone: dict[str, int] = {}

    def learn(self, asset: str, gas: int) -> None:
        """One alone was estimated to need this much."""
        if gas <= _MOST_ALONE:
            self._alone[asset] = max(gas, self._alone.get(asset, 0))

    def forget(self) -> None:
        """They were wrong: let them be estimated anew."""
        self._alone.clear()

    def knows(self, asset: str) -> bool:
        """Whether a transfer of this token has a price, and so is an EIP-3009 token."""
        return asset in self._alone

    def together(self, items: Sequence[Item]) -> int:
        """The gas limit of a transaction for these."""
        return _BASE + sum(self._alone[item.asset] * 5 // 4 for item in items)

    def room(self, budget: int) -> int:
        """How many of the dearest fit into a budget; something must be known."""
        return (budget - _BASE) // (max(self._alone.values()) * 5 // 4)


@dataclass(frozen=True, slots=True)
class Preview:
    """What would become of several payments in one transaction."""

    block: Block
    works: Sequence[Item]
    """Those whose transfers would go through, one after the other, within the gas they get."""
    fuel: int
    """Wei the sender has for gas."""
    mined: int
    """Transactions of the sender."""


async def learn(client: ChainClient, costs: Costs, items: Sequence[Item], sender: str) -> None:
    """Find out what transfers need of whose token nothing is known yet: once for each token.

    It must be an EIP-3009 token that answers as such: where there is no code at all, calls go through.
    """
    unknown = {item.asset: item for item in items if not costs.knows(item.asset)}
    if not unknown:
        return

    def questions(tag: str) -> list[Call]:
        calls: list[Call] = []
        for asset, item in unknown.items():
            authorization = item.due.exact.authorization
            state = token_abi.authorization_state(authorization.sender, authorization.nonce)
            transfer = {"from": sender, "to": asset, "data": item.data}
            calls += [read(asset, state, tag), ("eth_estimateGas", (transfer, tag))]
        return calls

    _, answers = await client.look(questions)
    for asset, state, gas in zip(unknown, answers[::2], answers[1::2], strict=True):
        if isinstance(state, str) and len(state) == 66 and isinstance(gas, str):
            costs.learn(asset, quantity(gas))


async def preview(client: ChainClient, costs: Costs, items: Sequence[Item], sender: str) -> Preview | None:
    """Payments, each in a token whose costs are known, simulated as one transaction of ``sender``.

    None when the chain does not carry out such a call. VerificationUnavailable as for a snapshot.
    """
    call: Mapping[str, Any] = {
        "from": sender,
        "to": multicall.ADDRESS,
        "data": multicall.aggregate3(items),
        "gas": hex(costs.together(items)),
    }

    def questions(tag: str) -> list[Call]:
        return [("eth_call", (call, tag)), ("eth_getBalance", (sender, tag)), count_of(sender, tag)]

    block, (answer, fuel, mined) = await client.look(questions)
    try:
        went = multicall.succeeded(answer, len(items))
    except RpcUnavailable:
        return None  # a node's error, or a contract that is none of the kind
    works = [item for item, well in zip(items, went, strict=True) if well]
    return Preview(block, works, quantity(fuel), quantity(mined))

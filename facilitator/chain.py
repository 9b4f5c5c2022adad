"""What is asked of a chain to verify and settle one payment: time, nonce, balance, simulation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from facilitator import token_abi
from facilitator.base import InFlight, Refused, VerificationUnavailable
from facilitator.rpc import Call, Rpc, RpcError, RpcUnavailable, quantity
from facilitator.wire import PaymentPayload, PaymentRequirements

MAX_SKEW = 30
"""Seconds the latest block and the host's clock may be apart."""


@dataclass(frozen=True, slots=True)
class Chain:
    """A network's parameters."""

    chain_id: int
    caip2: str
    rpc: tuple[str, ...]
    confirmations: int
    """Blocks, the transaction's own included, after which a receipt is believed."""
    finality: int
    """Blocks after which nothing is expected to change."""
    settle_within: float
    """Seconds one settlement may take before its outcome is called unknown."""
    max_fee_gwei: int | Decimal
    """Most that is paid for one unit of gas."""


@dataclass(frozen=True, slots=True)
class Block:
    """A block header's part; ``tag`` is how to ask about its state again."""

    tag: str
    number: int
    time: int
    """Unix seconds."""
    base_fee: int
    """Wei (EIP-1559); 0 where the chain has none."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the chain says of one payment."""

    block: Block
    nonce_used: bool
    balance: int
    """Atomic units."""
    refused: Refused | None
    """The simulated transfer's revert, or that there is no such token."""
    gas: int | None
    """Estimate for the transfer, when it was asked for and the chain gave one."""


class ChainClient:
    """One chain through its RPC endpoints. Every method raises VerificationUnavailable (most
    often RpcUnavailable) when the chain gives no answer that can be relied on."""

    def __init__(self, chain: Chain, rpc: Rpc, clock: Callable[[], float]) -> None:
        """``clock`` gives unix seconds."""
        self.chain = chain
        self.rpc = rpc
        self._clock = clock

    async def snapshot(
        self, payload: PaymentPayload, requirements: PaymentRequirements, sender: str, *, estimate: bool
    ) -> Snapshot:
        """Time, nonce state, balance and the transfer simulated as sent by ``sender``, in one round trip.

        A chain that makes blocks only when there are transactions shows an old ``latest`` while
        idle; then the same is asked again of its pending block. VerificationUnavailable when the
        chain's time stays more than 30 s away from the host's.
        """
        found = await self._snapshot(payload, requirements, sender, estimate, "latest")
        if self._clock() - found.block.time > MAX_SKEW:
            found = await self._snapshot(payload, requirements, sender, estimate, "pending")
        if abs(self._clock() - found.block.time) > MAX_SKEW:
            raise VerificationUnavailable(f"{self.chain.caip2}: block time and host clock are apart")
        return found

    def now(self, block: Block) -> int:
        """Unix seconds: the later of the host's clock and the block's time."""
        return max(int(self._clock()), block.time)

    async def covers(
        self, requirements: PaymentRequirements, payer: str, in_flight: Sequence[InFlight], block: Block
    ) -> bool:
        """Whether the balance covers the price beside the payer's other claims, all read at one block.

        A claim whose nonce is used there has left the balance already and is not subtracted.
        """
        states = [token_abi.authorization_state(payer, claim.nonce) for claim in in_flight]
        calldata = [token_abi.balance_of(payer), *states]
        answers = await self.rpc.batch([read(requirements.asset, data, block.tag) for data in calldata])
        balance, *used = (word(each) for each in answers)
        spoken_for = sum(claim.amount for claim, gone in zip(in_flight, used, strict=True) if not gone)
        return balance - spoken_for >= requirements.amount

    def confirmed(self, receipt: dict[str, Any], head: int) -> bool:
        """Whether enough blocks stand on a receipt when ``head`` is the latest."""
        return head - quantity(receipt.get("blockNumber")) + 1 >= self.chain.confirmations

    async def replaced(self, transaction: str, sender: str, nonce: int) -> bool:
        """Whether another transaction has taken this one's nonce, so that it can never be mined."""
        receipt, count = await self.rpc.batch(
            [receipt_of(transaction), ("eth_getTransactionCount", (sender, "latest"))]
        )
        return receipt is None and quantity(count) > nonce

    async def _snapshot(
        self,
        payload: PaymentPayload,
        requirements: PaymentRequirements,
        sender: str,
        estimate: bool,
        tag: str,
    ) -> Snapshot:
        authorization, asset = payload.authorization, requirements.asset
        transfer = {
            "from": sender,
            "to": asset,
            "data": token_abi.transfer_with_authorization(authorization, payload.signature),
        }
        calls: list[Call] = [
            ("eth_getBlockByNumber", (tag, False)),
            read(asset, token_abi.authorization_state(authorization.sender, authorization.nonce), tag),
            read(asset, token_abi.balance_of(authorization.sender), tag),
            ("eth_call", (transfer, tag)),
        ]
        if estimate:
            calls.append(("eth_estimateGas", (transfer, tag)))
        block, *answers = await self.rpc.batch(calls)
        return _snapshot_of(_block(block, tag), answers)


def receipt_of(transaction: str) -> Call:
    """The call that asks for a receipt."""
    return ("eth_getTransactionReceipt", (transaction,))


def read(contract: str, data: str, tag: str) -> Call:
    """The call of a view."""
    return ("eth_call", ({"to": contract, "data": data}, tag))


def _snapshot_of(block: Block, answers: list[Any]) -> Snapshot:
    state, balance, simulated, *estimate = answers
    no_token = _no_token(balance, state)
    gas = estimate[0] if estimate else None
    return Snapshot(
        block=block,
        nonce_used=no_token is None and word(state) != 0,
        balance=0 if no_token is not None else word(balance),
        refused=no_token or _simulation(simulated),
        gas=quantity(gas) if isinstance(gas, str) else None,
    )


def _no_token(balance: Any, state: Any) -> Refused | None:
    """Whether what stands at the asset's address is an EIP-3009 token at all."""
    for answer, missing in ((balance, token_abi.NO_CONTRACT), (state, token_abi.NOT_EIP3009)):
        if answer == "0x":
            return Refused(missing, "nothing answers at the asset's address")
        if isinstance(answer, RpcError) and token_abi.is_revert(answer):
            return Refused(token_abi.NOT_EIP3009, token_abi.revert_text(answer)[:200])
    return None


def _simulation(answer: Any) -> Refused | None:
    if not isinstance(answer, RpcError):
        return None
    if not token_abi.is_revert(answer):
        raise RpcUnavailable(f"eth_call: {answer.message}")
    return token_abi.refusal(answer)


def _block(answer: Any, tag: str) -> Block:
    if not isinstance(answer, dict):
        raise RpcUnavailable(f"no {tag} block")
    number = quantity(answer.get("number"))
    return Block(
        tag=hex(number) if tag == "latest" else tag,
        number=number,
        time=quantity(answer.get("timestamp")),
        base_fee=quantity(answer.get("baseFeePerGas") or "0x0"),
    )


def word(answer: Any) -> int:
    """A view's one-word answer; RpcUnavailable when it is anything else."""
    if not isinstance(answer, str) or len(answer) != 66:
        raise RpcUnavailable("eth_call: not one word")
    return quantity(answer)

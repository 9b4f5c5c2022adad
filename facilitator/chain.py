"""What is asked of a chain to verify and settle one payment: time, nonce, balance, simulation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from facilitator import token_abi
from facilitator.base import InFlight, Refused
from facilitator.rounds import Call
from facilitator.rpc import Rpc, RpcError, RpcUnavailable, quantity
from facilitator.wire import PaymentPayload, PaymentRequirements

MAX_SKEW = 30
"""Seconds the latest block and the host's clock may be apart."""


Receipt = dict[str, Any]
"""A transaction receipt as JSON-RPC gives it."""

Questions = Callable[[str], list[Call]]
"""What is asked about the block of a tag."""


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
    gas_limit: int
    """Units of gas; 0 where the chain does not tell."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Where one address's transactions stand."""

    mined: int
    pending: int
    """Those and the ones in the pool that can follow them."""
    head: Block


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
    fuel: int
    """Wei the sender has for gas; 0 when no estimate was asked for, as the next."""
    mined: int
    """Transactions of the sender."""


class ChainClient:
    """One chain through its RPC endpoints. Every method raises VerificationUnavailable (most
    often RpcUnavailable) when the chain gives no answer that can be relied on."""

    def __init__(self, chain: Chain, rpc: Rpc, clock: Callable[[], float]) -> None:
        """``clock`` gives unix seconds."""
        self.chain = chain
        self.rpc = rpc
        self._clock = clock
        self._apart: list[ChainClient] = []

    def apart(self) -> list[ChainClient]:
        """The same chain seen through each endpoint by itself."""
        if not self._apart:
            self._apart = [ChainClient(self.chain, rpc, self._clock) for rpc in self.rpc.apart()]
        return self._apart

    def fresh(self, block: Block) -> bool:
        """Whether a block's time and the host's clock are at most 30 s apart."""
        return abs(self._clock() - block.time) <= MAX_SKEW

    async def snapshot(
        self, payload: PaymentPayload, requirements: PaymentRequirements, sender: str, *, estimate: bool
    ) -> Snapshot:
        """Time, nonce state, balance and the transfer simulated as sent by ``sender``, in one round trip.

        A chain that makes blocks only when there are transactions shows an old ``latest`` while
        idle; then the same is asked again of its pending block. An endpoint that lags is passed over
        for the next one. VerificationUnavailable when the chain's time stays more than 30 s away
        from the host's.
        """
        block, answers = await self.look(_questions(payload, requirements, sender, estimate))
        return _snapshot_of(block, answers)

    async def look(self, questions: Questions) -> tuple[Block, list[Any]]:
        """Questions about one block, in one round trip: the latest, or the pending one where that is old."""

        def calls(tag: str) -> list[Call]:
            return [("eth_getBlockByNumber", (tag, False)), *questions(tag)]

        answers = await self.rpc.batch(calls("latest"))
        tag = "latest"
        if not self.fresh(block_of(answers[0], tag)):
            tag = "pending"
            answers = await self.rpc.batch(calls(tag), self._check_time)
        return block_of(answers[0], tag), answers[1:]

    def _check_time(self, answers: list[Any]) -> None:
        if not self.fresh(block_of(answers[0], "pending")):
            raise RpcUnavailable(f"{self.chain.caip2}: block time and host clock are apart")

    def now(self, block: Block) -> int:
        """Unix seconds: the later of the host's clock and the block's time."""
        return max(int(self._clock()), block.time)

    async def covers(
        self, requirements: PaymentRequirements, payer: str, in_flight: Sequence[InFlight], tag: str
    ) -> bool:
        """Whether the balance covers the price beside the payer's other claims, all read at block ``tag``.

        A claim whose nonce is used there has left the balance already and is not subtracted.
        """
        states = [token_abi.authorization_state(payer, claim.nonce) for claim in in_flight]
        calldata = [token_abi.balance_of(payer), *states]
        answers = await self.rpc.batch([read(requirements.asset, data, tag) for data in calldata])
        balance, *used = (word(each) for each in answers)
        spoken_for = sum(claim.amount for claim, gone in zip(in_flight, used, strict=True) if not gone)
        return balance - spoken_for >= requirements.amount

    def confirmed(self, receipt: Receipt, head: int) -> bool:
        """Whether enough blocks stand on a receipt when ``head`` is the latest."""
        return head - quantity(receipt.get("blockNumber")) + 1 >= self.chain.confirmations

    async def counts(self, address: str) -> Counts:
        """How many transactions of an address are mined, pooled, final."""
        mined, pending, header = await self.rpc.batch(
            [
                count_of(address, "latest"),
                count_of(address, "pending"),
                ("eth_getBlockByNumber", ("latest", False)),
            ]
        )
        head = block_of(header, "latest")
        return Counts(quantity(mined), max(quantity(mined), quantity(pending)), head)

    async def final_count(self, address: str, head: Block) -> int:
        """Transactions of an address that nothing is expected to change any more; 0 where the chain does
        not tell."""
        final = head.number - self.chain.finality
        answer = (await self.rpc.batch([count_of(address, hex(final))]))[0] if final >= 0 else "0x0"
        return quantity(answer) if isinstance(answer, str) else 0

    async def unknown(self, transactions: Sequence[str]) -> set[str]:
        """Those that are neither mined nor in the pool, as the first endpoint sees it."""
        answers = await self.rpc.batch([("eth_getTransactionByHash", (each,)) for each in transactions])
        return {each for each, answer in zip(transactions, answers, strict=True) if answer is None}

    async def canonical(self, receipts: Sequence[Receipt]) -> list[bool]:
        """Whether each receipt's block is the one the chain has at that height."""
        heights = sorted({quantity(receipt.get("blockNumber")) for receipt in receipts})
        blocks = await self.rpc.batch([("eth_getBlockByNumber", (hex(each), False)) for each in heights])
        hashes = {
            height: block.get("hash") if isinstance(block, dict) else None
            for height, block in zip(heights, blocks, strict=True)
        }
        found = [(hashes[quantity(receipt["blockNumber"])], receipt.get("blockHash")) for receipt in receipts]
        return [there is not None and there == claimed for there, claimed in found]

    async def replaced(self, transactions: Sequence[str], sender: str, nonce: int) -> bool:
        """Whether none of these, all of one nonce, can be mined any more: another one has been."""
        count, *receipts = await self.rpc.batch([count_of(sender, "latest"), *map(receipt_of, transactions)])
        return all(receipt is None for receipt in receipts) and quantity(count) > nonce

    async def simulate(
        self, payload: PaymentPayload, requirements: PaymentRequirements, sender: str
    ) -> Refused | None:
        """Why the transfer would fail in the latest block, whatever its time; None when it would not."""
        transfer = _transfer(payload, requirements, sender)
        return _simulation(await self.rpc.call("eth_call", transfer, "latest"))


def _transfer(payload: PaymentPayload, requirements: PaymentRequirements, sender: str) -> dict[str, str]:
    data = token_abi.transfer_with_authorization(payload.authorization, payload.signature)
    return {"from": sender, "to": requirements.asset, "data": data}


def _questions(
    payload: PaymentPayload, requirements: PaymentRequirements, sender: str, estimate: bool
) -> Callable[[str], list[Call]]:
    """The calls of a snapshot at a block tag, in the order ``_snapshot_of`` reads them."""
    authorization, asset = payload.authorization, requirements.asset
    transfer = _transfer(payload, requirements, sender)
    state = token_abi.authorization_state(authorization.sender, authorization.nonce)

    def at(tag: str) -> list[Call]:
        calls: list[Call] = [
            read(asset, state, tag),
            read(asset, token_abi.balance_of(authorization.sender), tag),
            ("eth_call", (transfer, tag)),
        ]
        if estimate:
            calls += [
                ("eth_estimateGas", (transfer, tag)),
                ("eth_getBalance", (sender, tag)),
                count_of(sender, tag),
            ]
        return calls

    return at


def count_of(address: str, tag: str) -> Call:
    """The call that asks how many transactions an address has sent."""
    return ("eth_getTransactionCount", (address, tag))


def receipt_of(transaction: str) -> Call:
    """The call that asks for a receipt."""
    return ("eth_getTransactionReceipt", (transaction,))


def read(contract: str, data: str, tag: str) -> Call:
    """The call of a view."""
    return ("eth_call", ({"to": contract, "data": data}, tag))


def _snapshot_of(block: Block, answers: list[Any]) -> Snapshot:
    state, balance, simulated, *estimate = answers
    no_token = _no_token(balance, state)
    gas, fuel, mined = estimate or (None, "0x0", "0x0")
    return Snapshot(
        block=block,
        nonce_used=no_token is None and word(state) != 0,
        balance=0 if no_token is not None else word(balance),
        refused=no_token or _simulation(simulated),
        gas=quantity(gas) if isinstance(gas, str) else None,
        fuel=quantity(fuel),
        mined=quantity(mined),
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


def block_of(answer: Any, tag: str) -> Block:
    """A block header asked for by ``tag``; RpcUnavailable when the answer is none."""
    if not isinstance(answer, dict):
        raise RpcUnavailable(f"no {tag} block")
    number = quantity(answer.get("number"))
    return Block(
        tag=hex(number) if tag == "latest" else tag,
        number=number,
        time=quantity(answer.get("timestamp")),
        base_fee=quantity(answer.get("baseFeePerGas") or "0x0"),
        gas_limit=quantity(answer.get("gasLimit") or "0x0"),
    )


def word(answer: Any) -> int:
    """A view's one-word answer; RpcUnavailable when it is anything else."""
    if not isinstance(answer, str) or len(answer) != 66:
        raise RpcUnavailable("eth_call: not one word")
    return quantity(answer)

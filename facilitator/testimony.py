"""What each endpoint says became of a payment, and what may be believed of that.

One endpoint alone must not make us deliver (a forged receipt), nor withhold (a receipt it
hides): see :func:`hear`. Source: DESIGN section 4 ("Unknown is not failed").
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from facilitator import token_abi
from facilitator.base import Due, Outgoing, Refused, Settled, Settlement, Unknown, VerificationUnavailable
from facilitator.chain import Block, ChainClient, Receipt, block_of, count_of, read, receipt_of, word
from facilitator.evidence import judge_used
from facilitator.exact_evm import VALID_BEFORE
from facilitator.moves import Moves
from facilitator.receipts import about
from facilitator.rpc import quantity

T = TypeVar("T")

TRANSFER_MISMATCH = "invalid_exact_evm_transfer_event_mismatch"
TRANSACTION_FAILED = "transaction_failed"


@dataclass(frozen=True, slots=True)
class Case:
    """A payment whose outcome is asked for."""

    due: Due
    sent: Sequence[Outgoing]
    """Everything recorded for it."""
    our_keys: Sequence[str]
    """Lower-case addresses; at least one where anything is recorded."""
    told: Sequence[str] = ()
    """Transactions that somebody else says are for it."""
    unused_at: int | None = None
    """A block in which the authorization was unused, after the claim."""

    @property
    def hashes(self) -> list[str]:
        """Of what is recorded or told."""
        return [*(outgoing.hash for outgoing in self.sent), *self.told]

    def proven_by(self, receipt: Receipt) -> bool:
        """Whether a receipt shows that the money moved."""
        return Moves(receipt).paid(self.due.requirements.asset, self.due.exact.authorization)


@dataclass(frozen=True, slots=True)
class Testimony:
    """One endpoint's verdict; Unknown where it has no evidence."""

    verdict: Settlement
    fresh: bool
    """Its latest block is not more than 30 s away from the host's clock."""


async def hear(clients: Sequence[ChainClient], case: Case) -> Settlement:
    """The verdict of all endpoints (``clients``, one for each that is configured) together.

    Settled as soon as two say so, or by one where no other can be asked or all others lag by more
    than 30 s. Refused when all that answer say so, and at least two do where two are configured.
    Unknown when they differ, none has evidence, or none answers.
    """
    asked = [client for client in clients if not client.rpc.resting] or clients
    heard: list[Testimony] = []
    tasks = [asyncio.create_task(_or_none(testify(client, case))) for client in asked]
    try:
        for answer in asyncio.as_completed(tasks):
            testimony = await answer
            if testimony is None:
                continue
            if any(each.verdict == testimony.verdict for each in heard) and _paid(testimony):
                return testimony.verdict
            heard.append(testimony)
    finally:
        for task in tasks:
            task.cancel()
    return _together(heard, len(clients))


async def shown(clients: Sequence[ChainClient], transaction: str) -> list[Moves]:
    """What each endpoint that has a transaction, confirmed, shows of it; no more than are enough."""
    found: list[Moves] = []
    asked = [client for client in clients if not client.rpc.resting] or clients
    tasks = [asyncio.create_task(_or_none(_shown(client, transaction))) for client in asked]
    try:
        for answer in asyncio.as_completed(tasks):
            moves = await answer
            if moves is not None and any(moves == each for each in found):
                return [moves, moves]
            found += [moves] if moves is not None else []
    finally:
        for task in tasks:
            task.cancel()
    return found


async def _shown(client: ChainClient, transaction: str) -> Moves | None:
    receipts = await mined(client, [transaction])
    return Moves(receipts[0]) if receipts else None


async def replaced(clients: Sequence[ChainClient], group: Sequence[Outgoing]) -> bool:
    """Whether none of ``group``, all of one sender and nonce, can be mined any more, because another
    transaction was: when all endpoints that answer say so, and at least two where two are configured."""
    hashes, address = [each.hash for each in group], group[0].sender.rpartition(":")[2]
    return await _all_say(clients, lambda client: client.replaced(hashes, address, group[0].nonce))


async def left_behind(clients: Sequence[ChainClient], case: Case, group: Sequence[Outgoing]) -> bool:
    """Whether one of ``group``, shared transactions of one sender and nonce, is mined and did not use the
    authorization; told as ``replaced``."""

    async def says(client: ChainClient) -> bool:
        asset, authorization = case.due.requirements.asset, case.due.exact.authorization
        there = await mined(client, [each.hash for each in group])
        return bool(there) and not any(Moves(receipt).used(asset, authorization) for receipt in there)

    return await _all_say(clients, says)


async def unused(clients: Sequence[ChainClient], due: Due) -> bool:
    """Whether no transaction, mined or waiting, uses the authorization; told as ``replaced``."""
    return await _all_say(clients, lambda client: _unused(client, due))


async def _all_say(clients: Sequence[ChainClient], so: Callable[[ChainClient], Awaitable[bool]]) -> bool:
    """Whether all endpoints that answer say so, and at least two where two are configured."""
    asked = [client for client in clients if not client.rpc.resting] or clients
    answers = await asyncio.gather(*(_or_none(so(client)) for client in asked))
    said = [answer for answer in answers if answer is not None]
    return len(said) >= min(2, len(clients)) and all(said)


async def mined(client: ChainClient, transactions: Sequence[str]) -> list[Receipt]:
    """The receipts of those that have their confirmations, in blocks the chain still has."""
    head, *answers = await client.rpc.batch([("eth_blockNumber", ()), *map(receipt_of, transactions)])
    return await _settled_down(client, _receipts(transactions, answers), quantity(head))


async def _unused(client: ChainClient, due: Due) -> bool:
    authorization = due.exact.authorization
    state = token_abi.authorization_state(authorization.sender, authorization.nonce)
    calls = [read(due.requirements.asset, state, tag) for tag in ("latest", "pending")]
    return not any(word(answer) for answer in await client.rpc.batch(calls))


async def _or_none(question: Awaitable[T]) -> T | None:
    """The answer, or None when that endpoint gives none."""
    try:
        return await question
    except VerificationUnavailable:
        return None


def _paid(testimony: Testimony) -> bool:
    return isinstance(testimony.verdict, Settled)


def _together(heard: Sequence[Testimony], configured: int) -> Settlement:
    paid = [each for each in heard if _paid(each)]
    others = [each for each in heard if not _paid(each)]
    if len(paid) == 1 and (not others or (paid[0].fresh and not any(each.fresh for each in others))):
        return paid[0].verdict
    refusals = [each.verdict for each in heard if isinstance(each.verdict, Refused)]
    if refusals and len(refusals) == len(heard) >= min(2, configured):
        return refusals[0]
    seen = [each.verdict.transaction for each in heard if not isinstance(each.verdict, Refused)]
    return Unknown(next(filter(None, seen), ""))


async def testify(client: ChainClient, case: Case) -> Testimony:
    """What the endpoint behind ``client`` shows of a payment; VerificationUnavailable when it cannot be
    asked. The host's clock has no part in the verdict."""
    asset, authorization = case.due.requirements.asset, case.due.exact.authorization
    state = token_abi.authorization_state(authorization.sender, authorization.nonce)
    senders = sorted({outgoing.sender for outgoing in case.sent})
    header, used, *answers = await client.rpc.batch(
        [
            ("eth_getBlockByNumber", ("latest", False)),
            read(asset, state, "latest"),
            *(count_of(sender.rpartition(":")[2], "latest") for sender in senders),
            *map(receipt_of, case.hashes),
        ]
    )
    head = block_of(header, "latest")
    counts = dict(zip(senders, map(quantity, answers[: len(senders)]), strict=True))
    over = bool(case.sent) and all(outgoing.nonce < counts[outgoing.sender] for outgoing in case.sent)
    receipts = _receipts(case.hashes, answers[len(senders) :])
    verdict = await _verdict(client, case, head, word(used) != 0, over, receipts)
    return Testimony(verdict, client.fresh(head))


async def _verdict(
    client: ChainClient, case: Case, head: Block, used: bool, over: bool, receipts: Sequence[Receipt]
) -> Settlement:
    """``over``: nothing recorded can be mined any more, be it that it has been."""
    settled_down = await _settled_down(client, receipts, head.number)
    for receipt in settled_down:
        if case.proven_by(receipt):
            return Settled(receipt["transactionHash"].lower())
    if used:
        return await judge_used(client, case.due, case.hashes, case.our_keys, unused_at=case.unused_at)
    if settled_down and over:
        return await _failed(client, case, settled_down)
    if await _expired(client, case.due, head):
        return Refused(VALID_BEFORE, "expired unused")
    return Unknown()


def _receipts(transactions: Collection[str], answers: Sequence[Any]) -> list[Receipt]:
    pairs = zip(transactions, answers, strict=True)
    return [answer for transaction, answer in pairs if about(transaction, answer)]


async def _settled_down(client: ChainClient, receipts: Sequence[Receipt], head: int) -> list[Receipt]:
    """Those that have their confirmations, in blocks the chain still has."""
    confirmed = [receipt for receipt in receipts if client.confirmed(receipt, head)]
    if not confirmed:
        return []
    there = await client.canonical(confirmed)
    return [receipt for receipt, is_there in zip(confirmed, there, strict=True) if is_there]


async def _failed(client: ChainClient, case: Case, receipts: Sequence[Receipt]) -> Refused | Unknown:
    """Why mined transactions of ours moved nothing, as the transfer's simulation tells it.

    Where that tells nothing and others were in each of them, they may be why: it can be tried alone.
    """
    refused = await client.simulate(case.due.exact, case.due.requirements, case.our_keys[0])
    if refused is not None:
        return refused
    shared = {outgoing.hash for outgoing in case.sent if outgoing.shared}
    alone = [receipt for receipt in receipts if receipt["transactionHash"].lower() not in shared]
    if not alone:
        return Unknown()
    return Refused(TRANSFER_MISMATCH if alone[0].get("status") == "0x1" else TRANSACTION_FAILED)


async def _expired(client: ChainClient, due: Due, head: Block) -> bool:
    """Whether the authorization, unused in the latest block, was unused in a final block that is past
    ``validBefore`` already: then no later block can use it (EIP-3009: only while time < validBefore)."""
    authorization = due.exact.authorization
    final = head.number - client.chain.finality
    if head.time < authorization.valid_before or final < 0:
        return False
    state = token_abi.authorization_state(authorization.sender, authorization.nonce)
    header, used = await client.rpc.batch(
        [("eth_getBlockByNumber", (hex(final), False)), read(due.requirements.asset, state, hex(final))]
    )
    return block_of(header, hex(final)).time >= authorization.valid_before and word(used) == 0

"""The store for several machines: one Redis primary, every step one Lua script.

Redis runs a script alone and writes it to the append-only file as a whole, so each step is atomic;
times are Redis' own. See :mod:`gateway.store.redis_fitness` for what an acknowledged write survives.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from facilitator.base import Outgoing
from gateway.errors import StoreUnavailable
from gateway.payment import READY, TAKEN_UP_AGAIN, Claim, Claimed, Lease, Payment, State
from gateway.store import Step
from gateway.store.record import (
    LISTING_SCAN,
    PURGE_BATCH,
    PURGE_EVERY,
    Limits,
    Row,
    by_nonce,
    decode_outgoing,
    encode_claim,
    encode_outgoing,
    forget_at,
    label,
    milliseconds,
    plain,
    read_cursor,
    state_set,
)
from gateway.store.redis_link import Word
from gateway.store.redis_session import Session
from gateway.store.redis_url import parse


class RedisStore:
    """See :class:`gateway.store.Store` for what each call does."""

    def __init__(self, url: str, limits: Limits, *, strict: bool) -> None:
        self._limits = limits
        self._session = Session(parse(url), strict=strict)
        self._housekeeper: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Connect and check; see :mod:`gateway.store.redis_fitness`."""
        self._housekeeper = asyncio.create_task(self._keep_house())
        await self._session.open()

    async def close(self) -> None:
        """Hang up."""
        if self._housekeeper is not None:
            self._housekeeper.cancel()
            with suppress(asyncio.CancelledError):
                await self._housekeeper
        await self._session.close()

    async def ping(self) -> None:
        await self._session.ask("PING")

    async def reserve(self, claim: Claim, *, lease: float, max_attempts: int) -> Claimed | Payment:
        payment_id = claim.id
        reply = await self._session.run(
            "reserve",
            payment_id,
            claim.digest,
            milliseconds(lease),
            max_attempts,
            encode_claim(claim),
            str(claim.amount),
            label(claim.purse),
            label(claim.route),
            label(claim.queue),
        )
        if not reply[0]:
            return _payment(reply[2], reply[1])
        _, fence, attempt, created_at, others = reply
        return Claimed(Lease(payment_id, fence), attempt, created_at, sum(map(int, others)))

    async def find(self, payment_id: str) -> Payment | None:
        reply = await self._session.run("find", label(payment_id))
        return None if reply is None else _payment(reply[1], reply[0])

    async def in_flight(self, purse: str) -> list[Payment]:
        return _payments(await self._session.run("in_flight", label(purse)))

    async def drop(self, lease: Lease) -> bool:
        reply = await self._session.run(
            "drop", label(lease.payment_id), lease.fence, self._limits.replay_window
        )
        return bool(reply)

    async def advance(self, lease: Lease, step: Step) -> bool:
        forget = forget_at(step)
        reply = await self._session.run(
            "advance",
            label(lease.payment_id),
            lease.fence,
            step.to,
            state_set(step.since),
            int(step.in_flight),
            int(step.keep_lease),
            "" if step.queued is None else int(step.queued),
            "" if forget is None else forget,
            self._limits.max_answers,
            *_given(plain(step.transaction)),
            *_given(plain(step.reason)),
            *_given(self._limits.kept(step.answer)),
        )
        return bool(reply)

    async def renew(self, leases: Sequence[Lease], *, lease: float) -> frozenset[str]:
        words: list[Word] = []
        for held in leases:
            words += (label(held.payment_id), held.fence)
        reply = await self._session.run("renew", milliseconds(lease), *words)
        return frozenset(payment_id.decode() for payment_id in reply)

    async def due(self, queue: str, *, limit: int, lease: float) -> list[Payment]:
        reply = await self._session.run(
            "due", label(queue), limit, milliseconds(lease), READY, State.SETTLING, state_set(TAKEN_UP_AGAIN)
        )
        return _payments(reply)

    async def states(self, payment_ids: Sequence[str]) -> dict[str, State]:
        reply = await self._session.run("states", *map(label, payment_ids))
        pairs = zip(payment_ids, reply, strict=True)
        return {payment_id: State(state.decode()) for payment_id, state in pairs if state}

    async def listing(
        self, *, state: State | None, route: str | None, limit: int, cursor: str | None
    ) -> tuple[list[Payment], str | None]:
        before = read_cursor(cursor)
        reply = await self._session.run(
            "listing",
            _index(state, route),
            "" if route is None else label(route),
            "" if before is None else before,
            limit,
            max(limit, LISTING_SCAN),
        )
        return _payments(reply), reply[2].decode() or None

    async def answer(self, payment_id: str) -> bytes | None:
        body: bytes | None = await self._session.run("answer", label(payment_id), self._limits.replay_window)
        return body

    async def hold(self, name: str, owner: str, *, lease: float) -> int | None:
        epoch: int | None = await self._session.run("hold", label(name), label(owner), milliseconds(lease))
        return epoch

    async def give_up(self, name: str, owner: str) -> None:
        await self._session.run("give_up", label(name), label(owner))

    async def record_transaction(self, epoch: int, transaction: Outgoing) -> bool:
        reply = await self._session.run(
            "record",
            label(transaction.sender),
            epoch,
            label(transaction.payment_id),
            encode_outgoing(transaction),
        )
        return bool(reply)

    async def close_transaction(self, transaction: Outgoing) -> None:
        await self._session.run(
            "close",
            label(transaction.sender),
            label(transaction.payment_id),
            encode_outgoing(transaction),
            self._limits.replay_window,
        )

    async def open_transactions(self, sender: str) -> list[Outgoing]:
        return by_nonce(await self._session.ask("ZRANGE", f"tollway:open:{label(sender)}", 0, -1))

    async def transactions_of(self, payment_id: str) -> list[Outgoing]:
        recorded = await self._session.ask("ZRANGE", f"tollway:sent:{label(payment_id)}", 0, -1)
        return [decode_outgoing(body) for body in recorded]

    async def _keep_house(self) -> None:
        """Every process forgets what may be forgotten; together they are only faster."""
        while True:
            await asyncio.sleep(PURGE_EVERY)
            with suppress(StoreUnavailable):
                while await self._purge() == PURGE_BATCH:
                    pass

    async def _purge(self) -> int:
        done: int = await self._session.run("purge", self._limits.replay_window, PURGE_BATCH)
        return done


def _given(value: str | bytes | None) -> tuple[Word, Word]:
    """Whether there is a value, and the value: scripts know no None."""
    return (0, "") if value is None else (1, value)


def _index(state: State | None, route: str | None) -> str:
    if state is not None:
        return f"tollway:state:{state}"
    return "tollway:all" if route is None else f"tollway:route:{label(route)}"


def _payment(fields: list[Any], read_at: int) -> Payment:
    payment_id, state, fence, attempts, digest, claim, created, updated, leased, tx, reason, history = fields
    row = Row(
        payment_id.decode(),
        state.decode(),
        fence,
        attempts,
        digest.decode(),
        claim,
        created,
        updated,
        leased,
        tx.decode(),
        reason.decode(),
        history.decode(),
    )
    return row.payment(read_at)


def _payments(reply: list[Any]) -> list[Payment]:
    return [_payment(fields, reply[0]) for fields in reply[1]]

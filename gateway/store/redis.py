"""The store for several machines: one Redis primary, every step one Lua script.

Redis runs a script alone and writes it to the append-only file as a whole, so each step is atomic;
times are Redis' own. With ``wait_replicas`` a write is acknowledged once as many replicas have it, so
that it survives a failover to one of them; StoreUnavailable says that they do not (yet). See
:mod:`gateway.store.redis_fitness` for what else it survives.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from facilitator.base import Outgoing
from gateway.errors import StoreUnavailable
from gateway.payment import (
    Caps,
    Claim,
    Claimed,
    Instance,
    Lease,
    Orphan,
    Payment,
    Standing,
    State,
    payment_id,
)
from gateway.store import Step
from gateway.store.record import (
    LISTING_SCAN,
    ORPHANS,
    PURGE_BATCH,
    PURGE_EVERY,
    Limits,
    by_nonce,
    decode_orphan,
    decode_outgoing,
    encode_orphan,
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
from gateway.store.redis_words import (
    decode_instance,
    encode_instance,
    given,
    read_claimed,
    read_payment,
    read_payments,
    reserve_words,
)


class RedisStore:
    """See :class:`gateway.store.Store` for what each call does."""

    def __init__(self, url: str, limits: Limits, *, strict: bool, wait_replicas: int = 0) -> None:
        self._limits = limits
        self._session = Session(parse(url), strict=strict, wait_replicas=wait_replicas)
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

    async def arrive(self, instance: Instance) -> None:
        await self._session.write(
            "arrive",
            label(instance.name),
            label(instance.slot),
            label(instance.run),
            instance.number,
            encode_instance(instance),
        )

    async def beat(self, name: str) -> bool:
        return bool(await self._session.write("beat", label(name)))

    async def bury(self, name: str) -> None:
        await self._session.write("bury", label(name))

    async def instances(self) -> list[Instance]:
        known = await self._session.ask("HVALS", "tollway:instances")
        return sorted(map(decode_instance, known), key=lambda instance: instance.name)

    async def reserve(
        self, claim: Claim, *, by: str, lease: float, max_attempts: int, caps: Caps | None = None
    ) -> Claimed | Standing:
        words = reserve_words(claim, by, milliseconds(lease), max_attempts, caps, self._limits)
        return read_claimed(claim, await self._session.write("reserve", *words))

    async def find(self, payment_id: str) -> Payment | None:
        reply = await self._session.run("find", label(payment_id))
        return None if reply is None else read_payment(reply[1], reply[0])

    async def in_flight(self, purse: str) -> list[Payment]:
        return read_payments(await self._session.run("in_flight", label(purse)))

    async def drop(self, lease: Lease) -> bool:
        limits = self._limits
        reply = await self._session.write(
            "drop", label(lease.payment_id), lease.fence, limits.released, limits.max_answers
        )
        return bool(reply)

    async def advance(self, lease: Lease, step: Step) -> bool:
        forget = forget_at(step)
        reply = await self._session.write(
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
            int(step.lost),
            int(step.redeemed),
            *given(plain(step.transaction)),
            *given(plain(step.reason)),
            *given(self._limits.kept(step.answer)),
            *given(step.note),
        )
        return bool(reply)

    async def renew(self, leases: Sequence[Lease], *, lease: float) -> frozenset[str]:
        words: list[Word] = []
        for held in leases:
            words += (label(held.payment_id), held.fence)
        reply = await self._session.write("renew", milliseconds(lease), *words)
        return frozenset(payment_id.decode() for payment_id in reply)

    async def due(self, queue: str, *, by: str, limit: int, lease: float) -> list[Payment]:
        reply = await self._session.write("due", label(queue), limit, milliseconds(lease), label(by))
        return read_payments(reply)

    async def redeem(self, payment_id: str, *, by: str, lease: float, most: int) -> Lease | None:
        fence = await self._session.write("redeem", label(payment_id), label(by), milliseconds(lease), most)
        return None if fence is None else Lease(payment_id, fence)

    async def mark(self, *, delivered: Sequence[str] = (), left: Sequence[str] = ()) -> None:
        ids = map(label, (*delivered, *left))
        await self._session.write("mark", self._limits.max_answers, len(delivered), *ids)

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
        return read_payments(reply), reply[2].decode() or None

    async def answer(self, payment_id: str) -> bytes | None:
        limits = self._limits
        body: bytes | None = await self._session.run(
            "answer", label(payment_id), limits.replay_window, limits.owed_window
        )
        return body

    async def hold(self, name: str, owner: str, *, lease: float) -> int | None:
        epoch: int | None = await self._session.write("hold", label(name), label(owner), milliseconds(lease))
        return epoch

    async def give_up(self, name: str, owner: str) -> None:
        await self._session.write("give_up", label(name), label(owner))

    async def record_transaction(self, epoch: int, transaction: Outgoing) -> bool:
        reply = await self._session.write(
            "record",
            label(transaction.sender),
            epoch,
            encode_outgoing(transaction),
            int(transaction.open),
            *map(label, transaction.payment_ids),
        )
        return bool(reply)

    async def close_transaction(self, transaction: Outgoing) -> None:
        await self._session.write(
            "close",
            label(transaction.sender),
            encode_outgoing(transaction),
            self._limits.replay_window,
            *map(label, transaction.payment_ids),
        )

    async def open_transactions(self, sender: str) -> list[Outgoing]:
        return by_nonce(await self._session.ask("ZRANGE", f"tollway:open:{label(sender)}", 0, -1))

    async def transactions_of(self, payment_id: str) -> list[Outgoing]:
        return [decode_outgoing(body) for body in await self._session.run("sent", label(payment_id))]

    async def recorded(self, payment_ids: Sequence[str]) -> frozenset[str]:
        found = await self._session.run("recorded", *map(label, payment_ids))
        return frozenset(each for each, there in zip(payment_ids, found, strict=True) if there)

    async def note_orphan(self, orphan: Orphan) -> bool:
        key = payment_id(orphan.replay_key)
        return bool(await self._session.write("note", key, encode_orphan(orphan)))

    async def orphans(self) -> list[Orphan]:
        return [
            decode_orphan(body, found_at) for body, found_at in await self._session.run("orphans", ORPHANS)
        ]

    async def remember(self, name: str, value: bytes, *, seconds: float) -> None:
        await self._session.write("remember", label(name), value, milliseconds(seconds))

    async def forget(self, name: str) -> None:
        await self._session.write("forget", label(name))

    async def recall(self, names: Sequence[str]) -> list[bytes | None]:
        if not names:
            return []
        facts: list[bytes | None] = await self._session.ask(
            "MGET", *(f"tollway:fact:{label(name)}" for name in names)
        )
        return facts

    async def _keep_house(self) -> None:
        """Every process forgets what may be forgotten; together they are only faster."""
        while True:
            await asyncio.sleep(PURGE_EVERY)
            with suppress(StoreUnavailable):
                while await self._purge() == PURGE_BATCH:
                    pass

    async def _purge(self) -> int:
        limits = self._limits
        done: int = await self._session.write(
            "purge",
            limits.replay_window,
            limits.owed_window,
            limits.released,
            limits.max_answers,
            PURGE_BATCH,
        )
        return done


def _index(state: State | None, route: str | None) -> str:
    if state is not None:
        return f"tollway:state:{state}"
    return "tollway:all" if route is None else f"tollway:route:{label(route)}"

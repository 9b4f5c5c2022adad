"""The settlement queue against a real store, with a rail whose outcomes are scripted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from kit.stores import HERE, claimed, make_claim, step

from facilitator.base import Journal, Outgoing, Refused, Settled, Settlement, Unknown
from gateway import settlement
from gateway.bell import Bell
from gateway.errors import StoreUnavailable
from gateway.journal import StoreJournal
from gateway.leases import Leases
from gateway.observe import Metrics
from gateway.outcomes import THIRD_PARTY
from gateway.payment import Caps, Claim, Lease, Moment, Payment, State
from gateway.presence import Presence
from gateway.settlement import Settler
from gateway.steps import handed_out, settle_first
from gateway.store import Step, Store
from gateway.store.connect import open_store

QUEUE = "eip155:84532:0xsender"


class ScriptedRail:
    """Settles as told, in turn; the last outcome stays."""

    name = "x402"
    queues = (QUEUE,)

    def __init__(self, *outcomes: Settlement) -> None:
        self.outcomes = list(outcomes)
        self.settled: list[str] = []
        self.resumed = 0
        self.most = 128
        self.asked = asyncio.Event()

    def at_once(self, queue: str) -> int:
        return self.most

    async def settle(self, payment: Payment, journal: Journal) -> Settlement:
        self.settled.append(payment.id)
        self.asked.set()
        return self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]

    async def resume(self, queue: str, journal: Journal) -> None:
        self.resumed += 1


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = open_store("embedded", tmp_path, 60.0, 1000, 10_000)
    await opened.open()
    yield opened
    await opened.close()


def settler(store: Store, rail: ScriptedRail, owner: str = "me", *, exclusive: bool = True) -> Settler:
    made = Settler(
        store,
        Leases(store),
        [rail],  # type: ignore[list-item]
        presence=Presence(store, owner, owner, 0),
        replay_window=60.0,
        exclusive=exclusive,
        metrics=Metrics("test"),
    )
    made.start()
    return made


async def served(store: Store, **changes: object) -> Claim:
    claim = make_claim(queue=QUEUE, **changes)
    mine = await claimed(store, claim)
    assert await store.advance(mine.lease, step(State.SERVED, answer=b"goods", queued=True))
    return claim


async def test_a_served_payment_is_settled_and_its_request_is_told(store: Store) -> None:
    rail = ScriptedRail(Settled("0xabc"))
    running = settler(store, rail)
    claim = await served(store)

    payment = await running.wait(claim.id, QUEUE, 5.0)

    assert payment is not None and (payment.state, payment.transaction) == (State.SETTLED, "0xabc")
    recorded = await store.find(claim.id)
    assert recorded is not None and recorded.state is State.SETTLED
    assert rail.settled == [claim.id] and rail.resumed == 1
    await running.stop(1.0)


async def test_a_refusal_is_recorded_with_its_reason(store: Store) -> None:
    running = settler(store, ScriptedRail(Refused("invalid_exact_evm_nonce_already_used")))
    claim = await served(store)
    payment = await running.wait(claim.id, QUEUE, 5.0)
    assert payment is not None
    assert (payment.state, payment.reason) == (State.REFUSED, "invalid_exact_evm_nonce_already_used")
    await running.stop(1.0)


async def test_what_could_not_be_sent_is_tried_again(store: Store) -> None:
    """Nothing reached the chain: the same entry goes on until there is an outcome."""
    rail = ScriptedRail(Unknown(), Unknown(), Settled("0xabc"))
    running = settler(store, rail)
    claim = await served(store)
    payment = await running.wait(claim.id, QUEUE, 5.0)
    assert payment is not None and payment.state is State.SETTLED and len(rail.settled) == 3
    await running.stop(1.0)


async def test_what_may_have_reached_the_chain_is_unknown_and_stays_queued(store: Store) -> None:
    running = settler(store, ScriptedRail(Unknown("0xdef")))
    claim = await served(store)
    payment = await running.wait(claim.id, QUEUE, 5.0)
    assert payment is not None and (payment.state, payment.transaction) == (State.UNKNOWN, "0xdef")
    await running.stop(1.0)


async def test_what_is_still_unknown_stays_as_it_is(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is looked after again, and no step is asked for: a refused one tells of a claim that is lost."""
    first = settler(store, ScriptedRail(Unknown("0xdef")), "first")
    claim = await served(store)
    await first.wait(claim.id, QUEUE, 5.0)
    await first.stop(1.0)
    for instance in await store.instances():
        await store.bury(instance.name)
    asked: list[Step] = []

    async def advance(lease: Lease, asked_for: Step) -> bool:
        asked.append(asked_for)
        return False

    monkeypatch.setattr(store, "advance", advance)
    rail = ScriptedRail(Unknown("0xdef"))
    second = settler(store, rail, "second")
    async with asyncio.timeout(5.0):
        await rail.asked.wait()
    await second.stop(1.0)

    payment = await store.find(claim.id)
    assert payment is not None and payment.state is State.UNKNOWN and asked == []


async def test_two_processes_one_sender(store: Store) -> None:
    """The entry is settled once, by whoever holds the lease; the other learns the outcome."""
    one, two = ScriptedRail(Settled("0x1")), ScriptedRail(Settled("0x2"))
    first = settler(store, one, "first")
    claims = [await served(store) for _ in range(5)]
    second = settler(store, two, "second")

    told = await asyncio.gather(*(second.wait(claim.id, QUEUE, 5.0) for claim in claims))

    assert {payment.transaction for payment in told if payment} == {"0x1"}
    assert sorted(one.settled) == sorted(claim.id for claim in claims) and two.settled == []
    await first.stop(1.0)
    await second.stop(1.0)


async def test_a_sender_that_stops_hands_over_at_once(store: Store) -> None:
    first = settler(store, ScriptedRail(Settled("0x1")), "first")
    claim = await served(store)
    await first.wait(claim.id, QUEUE, 5.0)
    await first.stop(1.0)
    second = settler(store, ScriptedRail(Settled("0x2")), "second")
    claim = await served(store)
    payment = await second.wait(claim.id, QUEUE, 5.0)
    assert payment is not None and payment.transaction == "0x2"
    await second.stop(1.0)


async def test_waiting_ends_with_what_is_known(store: Store) -> None:
    running = settler(store, ScriptedRail(Unknown()))
    claim = await served(store)
    payment = await running.wait(claim.id, QUEUE, 0.2)
    assert payment is not None and payment.state is State.SETTLING
    await running.stop(0.1)


async def test_a_quiet_queue_is_looked_at_less_often(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """What another process queues is found all the same."""
    waits: list[float] = []
    quiet, heard = asyncio.Event(), Bell.heard

    async def watched(bell: Bell, seconds: float) -> None:
        waits.append(seconds)
        if seconds == settlement.QUIET:
            quiet.set()
        await heard(bell, seconds)

    await store.arrive(HERE)
    monkeypatch.setattr(settlement, "CALM", 0.05)
    monkeypatch.setattr(Bell, "heard", watched)
    rail = ScriptedRail(Settled("0xabc"))
    running = settler(store, rail)
    await quiet.wait()
    since = len(waits)
    await served(store)
    await rail.asked.wait()
    quiet.clear()
    await quiet.wait()
    await running.stop(1.0)
    assert waits[0] == settlement.POLL and settlement.QUIET not in waits[: since - 1]
    assert any(seconds < settlement.QUIET for seconds in waits[since:])


class Recording(ScriptedRail):
    """Records before it settles, and notes what was known to be untouched before, and read, each time."""

    def __init__(self, *outcomes: Settlement) -> None:
        super().__init__(*outcomes)
        self.seen: list[tuple[bool, int]] = []

    async def settle(self, payment: Payment, journal: Journal) -> Settlement:
        untouched = journal.untouched(payment.id)
        known = await journal.known([payment.id])
        assert known == frozenset(payment.id for _ in await journal.of(payment.id))
        self.seen.append((untouched, len(known)))
        await journal.record(Outgoing(QUEUE, 0, "0x1", b"raw", (payment.id,)))
        return await super().settle(payment, journal)


async def test_only_what_nobody_ever_tried_to_send_is_untouched(store: Store) -> None:
    """Not at a second try, nor when another process takes it up again: there may be a record."""
    rail = Recording(Unknown(), Unknown(), Unknown("0x1"))
    first = settler(store, rail, "first")
    claim = await served(store)
    await first.wait(claim.id, QUEUE, 5.0)
    await first.stop(1.0)
    for instance in await store.instances():
        await store.bury(instance.name)
    again = Recording(Settled("0x1"))
    second = settler(store, again, "second")
    payment = await second.wait(claim.id, QUEUE, 5.0)
    while payment is None or payment.state is not State.SETTLED:
        payment = await second.wait(claim.id, QUEUE, 0.05)
    await second.stop(1.0)
    assert (rail.seen, again.seen) == ([(True, 0), (False, 1), (False, 1)], [(False, 1)])


async def test_a_record_that_seemed_to_fail_leaves_nothing_untouched(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = store.record_transaction

    async def record_and_fail(epoch: int, transaction: Outgoing) -> bool:
        await record(epoch, transaction)
        monkeypatch.undo()
        raise StoreUnavailable("away")

    monkeypatch.setattr(store, "record_transaction", record_and_fail)
    rail = Recording(Settled("0x1"))
    running = settler(store, rail)
    claim = await served(store)
    await running.wait(claim.id, QUEUE, 5.0)
    await running.stop(1.0)
    assert rail.seen == [(True, 0), (False, 1)]


async def test_a_tombstone_outlives_the_authorization(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """seq-replay-after-ttl: while the authorization is good, its payment is remembered."""
    steps: list[Step] = []
    advance = store.advance

    async def watched(lease: Lease, taken: Step) -> bool:
        steps.append(taken)
        return await advance(lease, taken)

    monkeypatch.setattr(store, "advance", watched)
    for expires_at in (1, 2_000_000_000, 2**256 - 1):
        running = settler(store, ScriptedRail(Settled("0xabc")))
        claim = await served(store, expires_at=expires_at)
        await running.wait(claim.id, QUEUE, 5.0)
        kept_until = steps[-1].forget_at
        assert kept_until is not None and kept_until >= max(expires_at, time.time() + 59) * 1000
        await running.stop(1.0)


# Paid beforehand, or by somebody else


async def paid_first(store: Store, **changes: object) -> Claim:
    """A payment of a ``before`` route whose process died when it was to be handed out."""
    claim = make_claim(queue=QUEUE, moment=Moment.BEFORE, **changes)
    mine = await claimed(store, claim)
    assert await store.advance(mine.lease, settle_first(None))
    return claim


async def test_a_payment_made_first_stays_queued_until_it_is_handed_out(store: Store) -> None:
    running = settler(store, ScriptedRail(Settled("0xabc")))
    claim = await paid_first(store)
    payment = await running.wait(claim.id, QUEUE, 5.0)
    assert payment is not None and payment.state is State.SETTLED
    (me,) = [each.name for each in await store.instances() if each.slot == "me"]
    lease = await store.redeem(claim.id, by=me, lease=10.0, most=3)
    assert lease is not None
    assert await store.advance(lease, handed_out(b"goods", time.time() + 60, again=False))
    assert await store.due(QUEUE, by=me, limit=9, lease=1.0) == []
    await running.stop(1.0)


async def test_what_nobody_hands_out_is_owed_back(store: Store) -> None:
    first = settler(store, ScriptedRail(Settled("0xabc")), "first")
    claim = await paid_first(store)
    assert await first.wait(claim.id, QUEUE, 5.0)
    await first.stop(1.0)
    for each in await store.instances():
        await store.bury(each.name)

    second = settler(store, ScriptedRail(Unknown()), "second")
    payment = await second.wait(claim.id, QUEUE, 5.0)
    while payment is None or payment.state is State.SETTLED:
        payment = await second.wait(claim.id, QUEUE, 0.05)

    assert (payment.state, payment.reason) == (State.REFUND_DUE, "not_handed_out")
    assert payment.transaction == "0xabc"
    await second.stop(1.0)


@pytest.mark.parametrize("exclusive", [True, False])
async def test_a_third_partys_transaction_counts_only_where_no_other_store_may_serve_for_it(
    exclusive: bool, store: Store
) -> None:
    rail = ScriptedRail(Settled("0xabc", recognised=True))
    running = settler(store, rail, exclusive=exclusive)
    claim = await served(store)
    payment = await running.wait(claim.id, QUEUE, 5.0)
    assert payment is not None and payment.transaction == "0xabc"
    assert payment.state is (State.SETTLED if exclusive else State.REFUND_DUE)
    await running.stop(1.0)
    found = await store.find(claim.id)
    assert found is not None and found.state is payment.state
    assert (found.reason == THIRD_PARTY) is not exclusive


async def test_who_looks_before_it_is_recorded_as_owed_back_is_not_served(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked, take = asyncio.Event(), store.advance

    async def advance(lease: Lease, asked: Step) -> bool:
        if asked.to is State.REFUND_DUE:
            await looked.wait()
        return await take(lease, asked)

    monkeypatch.setattr(store, "advance", advance)
    running = settler(store, ScriptedRail(Settled("0xabc", recognised=True)), exclusive=False)
    claim = await served(store)
    payment = await running.wait(claim.id, QUEUE, 5.0)
    looked.set()
    assert payment is not None and payment.state is State.REFUND_DUE
    await running.stop(1.0)


async def test_a_deferred_answer_that_is_never_paid_is_a_loss(store: Store) -> None:
    running = settler(store, ScriptedRail(Refused("insufficient_funds")))
    caps = Caps(per_payer=100, total=100)
    claim = make_claim(queue=QUEUE, moment=Moment.DEFERRED, exposure=10)
    mine = await claimed(store, claim, caps=caps)
    assert await store.advance(mine.lease, step(State.SERVED, queued=True))
    payment = await running.wait(claim.id, QUEUE, 5.0)
    assert payment is not None and payment.state is State.REFUSED
    again = await claimed(store, make_claim(moment=Moment.DEFERRED, exposure=10), caps=caps)
    assert again.moment is Moment.AFTER, "who owes gets no trust"
    await running.stop(1.0)


async def test_no_more_at_once_than_the_rail_says(store: Store) -> None:
    """The rest waits in the queue, where it is safe."""

    class Slow(ScriptedRail):
        async def settle(self, payment: Payment, journal: Journal) -> Settlement:
            outcome = await super().settle(payment, journal)
            await gate.wait()
            return outcome

    gate, rail = asyncio.Event(), Slow(Settled("0xabc"))
    rail.most = 3
    claims = [await served(store) for _ in range(5)]
    running = settler(store, rail)
    await asyncio.sleep(0.3)
    assert rail.settled == [claim.id for claim in claims[:3]]
    gate.set()
    told = [await running.wait(claim.id, QUEUE, 5.0) for claim in claims]
    assert all(payment is not None and payment.state is State.SETTLED for payment in told)
    await running.stop(1.0)


async def test_a_sender_that_slept_while_it_took_over(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its lease is looked at again first: under one that ended nothing can be sent."""
    monkeypatch.setattr(settlement, "RENEW", 0.05)
    epochs: list[int] = []

    class Slept(ScriptedRail):
        async def resume(self, queue: str, journal: Journal) -> None:
            await super().resume(queue, journal)
            if self.resumed == 1:
                (me,) = [each.name for each in await store.instances() if each.slot == "me"]
                await store.give_up(queue, me)
                await asyncio.sleep(0.1)

        async def settle(self, payment: Payment, journal: Journal) -> Settlement:
            assert isinstance(journal, StoreJournal)
            epochs.append(journal._epoch)
            return await super().settle(payment, journal)

    claim = await served(store)
    running = settler(store, Slept(Settled("0xabc")))
    payment = await running.wait(claim.id, QUEUE, 5.0)

    assert payment is not None and payment.state is State.SETTLED
    assert epochs == [2]
    await running.stop(1.0)

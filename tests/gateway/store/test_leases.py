"""The contract of both stores: named leases and recorded transactions."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

from kit.stores import arrive, claimed, eventually, make_claim, milliseconds_from_now, settle

from facilitator.base import Outgoing
from gateway.store import Store

OpenStore = Callable[..., Awaitable[Store]]
SENDER = "eip155:84532:0xabc"


def outgoing(nonce: int, payment_id: str = "pay_1", **changes: object) -> Outgoing:
    transaction = Outgoing(SENDER, nonce, f"0x{nonce:064x}", b"\x02\n\x00raw", (payment_id,))
    return replace(transaction, **changes)  # type: ignore[arg-type]


async def test_one_owner_at_a_time(store: Store) -> None:
    await arrive(store, "one", "two")
    assert await store.hold("n", "one", lease=10) == 1
    assert await store.hold("n", "two", lease=10) is None
    assert await store.hold("n", "one", lease=10) == 1
    assert await store.hold("other:n", "two", lease=10) == 1


async def test_the_epoch_grows_with_every_change_of_owner(store: Store) -> None:
    await arrive(store, "one", "two")
    assert await store.hold("n", "one", lease=0.03) == 1
    await asyncio.sleep(0.06)
    assert await store.hold("n", "two", lease=0.03) == 2
    await asyncio.sleep(0.06)
    assert await store.hold("n", "two", lease=10) == 3, "a lapse counts, whoever comes back"


async def test_holding_again_lengthens(store: Store) -> None:
    await arrive(store, "one", "two")
    assert await store.hold("n", "one", lease=0.1) == 1
    assert await store.hold("n", "one", lease=10) == 1
    assert await store.hold("n", "one", lease=0.01) == 1
    await asyncio.sleep(0.15)
    assert await store.hold("n", "two", lease=1) is None


async def test_giving_up_lets_others_in_at_once(store: Store) -> None:
    await arrive(store, "one", "two")
    await store.give_up("n", "nobody yet")
    assert await store.hold("n", "one", lease=10) == 1
    await store.give_up("n", "two")
    assert await store.hold("n", "two", lease=10) is None
    await store.give_up("n", "one")
    assert await store.hold("n", "two", lease=10) == 2


async def test_one_of_many_gets_the_hold(open_another: OpenStore) -> None:
    stores = [await open_another(), await open_another()]
    await arrive(stores[0], *(f"owner{n}" for n in range(60)))
    epochs = await asyncio.gather(*(stores[n % 2].hold("n", f"owner{n}", lease=10) for n in range(60)))
    assert [epoch for epoch in epochs if epoch is not None] == [1]


async def test_a_transaction_is_recorded_only_under_the_hold(store: Store) -> None:
    await arrive(store, "one", "two")
    transaction = outgoing(1)
    assert not await store.record_transaction(1, transaction)
    epoch = await store.hold(SENDER, "one", lease=0.1)
    assert epoch is not None
    assert not await store.record_transaction(epoch + 1, transaction)
    assert await store.record_transaction(epoch, transaction)
    await asyncio.sleep(0.15)
    assert not await store.record_transaction(epoch, outgoing(2))
    assert await store.hold(SENDER, "two", lease=10) == epoch + 1
    assert not await store.record_transaction(epoch, outgoing(2))
    assert await store.record_transaction(epoch + 1, outgoing(2))
    await store.give_up(SENDER, "two")
    assert not await store.record_transaction(epoch + 1, outgoing(3))
    assert await store.open_transactions(SENDER) == [transaction, outgoing(2)]


async def test_open_transactions_lowest_nonce_first(store: Store) -> None:
    await arrive(store, "one", "two")
    epoch = await store.hold(SENDER, "one", lease=10)
    assert epoch is not None
    bump = outgoing(5, hash="0x00bump", raw=b"bumped")
    mine = [outgoing(5), outgoing(3), bump, outgoing(2**60)]
    for transaction in mine:
        assert await store.record_transaction(epoch, transaction)
    other = replace(outgoing(1), sender="eip155:1:0xabc")
    assert not await store.record_transaction(epoch, other)
    assert await store.open_transactions(SENDER) == [mine[1], mine[0], bump, mine[3]]
    assert await store.transactions_of("pay_1") == mine
    await store.close_transaction(mine[0])
    await store.close_transaction(mine[0])
    assert await store.open_transactions(SENDER) == [mine[1], bump, mine[3]]
    assert await store.transactions_of("pay_1") == mine
    assert await store.transactions_of("pay_2") == []


async def test_what_is_only_remembered_is_never_open(store: Store) -> None:
    """And it goes with its payment, as what is closed does."""
    await arrive(store, "one", "two")
    epoch = await store.hold(SENDER, "one", lease=10)
    assert epoch is not None
    settled = make_claim()
    for _ in range(2):
        assert await store.record_transaction(epoch, outgoing(1, settled.id, open=False))
    assert await store.open_transactions(SENDER) == []
    assert await store.transactions_of(settled.id) == [outgoing(1, settled.id)]
    await settle(store, settled, forget_at=0)
    await asyncio.sleep(1.3)
    assert await store.transactions_of(settled.id) == []


async def test_recording_again_is_the_same_record(store: Store) -> None:
    await arrive(store, "one", "two")
    epoch = await store.hold(SENDER, "one", lease=10)
    assert epoch is not None
    for _ in range(2):
        assert await store.record_transaction(epoch, outgoing(1))
    assert await store.open_transactions(SENDER) == await store.transactions_of("pay_1") == [outgoing(1)]
    await store.close_transaction(outgoing(1))
    assert await store.record_transaction(epoch, outgoing(1))
    assert await store.open_transactions(SENDER) == [outgoing(1)]


async def test_one_transaction_for_several_payments(store: Store) -> None:
    await arrive(store, "one", "two")
    epoch = await store.hold(SENDER, "one", lease=10)
    assert epoch is not None
    shared = [outgoing(1, payment_id) for payment_id in ("pay_1", "pay_2")]
    for transaction in shared:
        assert await store.record_transaction(epoch, transaction)
    assert await store.open_transactions(SENDER) == shared
    await store.close_transaction(shared[0])
    assert await store.open_transactions(SENDER) == shared[1:]


async def test_closed_transactions_go_with_their_payment(store: Store) -> None:
    await arrive(store, "one", "two")
    epoch = await store.hold(SENDER, "one", lease=10)
    assert epoch is not None
    settled, dropped = make_claim(), make_claim()
    transaction = outgoing(1, settled.id)
    assert await store.record_transaction(epoch, transaction)
    await settle(store, settled, forget_at=0)
    await store.close_transaction(transaction)
    mine = await claimed(store, dropped)
    assert await store.record_transaction(epoch, outgoing(2, dropped.id))
    assert await store.drop(mine.lease)
    await asyncio.sleep(1.3)
    assert await store.transactions_of(settled.id) == []
    assert await store.open_transactions(SENDER) == [outgoing(2, dropped.id)]


async def test_a_transaction_whose_payment_is_gone_is_forgotten_in_the_end(open_another: OpenStore) -> None:
    store = await open_another(replay_window=0.5)
    await arrive(store, "one")
    epoch = await store.hold(SENDER, "one", lease=10)
    assert epoch is not None
    assert await store.record_transaction(epoch, outgoing(1))
    await asyncio.sleep(0.6)
    assert await store.transactions_of("pay_1") == [outgoing(1)]
    await store.close_transaction(outgoing(1))
    assert await store.transactions_of("pay_1") == [outgoing(1)]
    await asyncio.sleep(1.8)
    assert await store.transactions_of("pay_1") == []


def shared(nonce: int, *payment_ids: str) -> Outgoing:
    """A transaction that is as long as those of a hundred payments are."""
    return replace(outgoing(nonce), payment_ids=payment_ids, raw=b"\x02" + bytes(50_000))


async def test_payments_that_travel_together_are_recorded_in_one_step(store: Store) -> None:
    await arrive(store, "one", "two")
    epoch = await store.hold(SENDER, "one", lease=10)
    assert epoch is not None
    payments = [f"pay_{number}" for number in range(100)]
    together, alone = shared(1, *payments), outgoing(2, "pay_7")
    for transaction in (together, alone):
        assert await store.record_transaction(epoch, transaction)

    assert await store.open_transactions(SENDER) == [together, alone]
    assert await store.transactions_of("pay_99") == [together]
    assert await store.transactions_of("pay_7") == [together, alone]
    assert await store.recorded(["pay_7", "pay_100", "pay_99"]) == {"pay_7", "pay_99"}
    assert await store.recorded([]) == frozenset()
    await store.close_transaction(together)
    assert await store.open_transactions(SENDER) == [alone]
    assert await store.transactions_of("pay_0") == [together]


async def test_what_payments_shared_goes_with_the_last_of_them(store: Store) -> None:
    await arrive(store, "one", "two")
    epoch = await store.hold(SENDER, "one", lease=10)
    assert epoch is not None
    first, last = make_claim(), make_claim()
    together, under_way = shared(1, first.id, last.id), shared(2, first.id, last.id)
    for transaction in (together, under_way):
        assert await store.record_transaction(epoch, transaction)
    await store.close_transaction(together)
    await settle(store, first, forget_at=0)
    await settle(store, last, forget_at=milliseconds_from_now(2.5))
    await eventually(lambda: store.find(first.id), None)
    assert await store.transactions_of(last.id) == [together, under_way]
    await eventually(lambda: store.find(last.id), None)
    await asyncio.sleep(1.1)
    assert together not in await store.transactions_of(last.id)
    assert await store.open_transactions(SENDER) == [under_way], "it outlives its payments"


async def test_what_is_shared_by_payments_that_are_gone_is_forgotten_in_the_end(
    open_another: OpenStore,
) -> None:
    store = await open_another(replay_window=0.5)
    await arrive(store, "one")
    epoch = await store.hold(SENDER, "one", lease=10)
    assert epoch is not None
    together = shared(1, "pay_1", "pay_2")
    assert await store.record_transaction(epoch, together)
    await store.close_transaction(together)
    assert await store.record_transaction(epoch, together), "said again, it is open again"
    await asyncio.sleep(1.8)
    assert await store.transactions_of("pay_2") == [together]
    await store.close_transaction(together)
    await asyncio.sleep(1.8)
    assert await store.transactions_of("pay_1") == await store.transactions_of("pay_2") == []

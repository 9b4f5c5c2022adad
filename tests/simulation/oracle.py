"""What must hold once everything has recovered: ledger, chain, and what each client received."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from gateway.payment import Moment, State
from simulation.chain import US
from simulation.memory import Record
from simulation.wallets import wallet
from simulation.world import AMOUNT, PAID, Signed, World

MOST_REDEMPTIONS = 3


def judge(world: World, slots: Sequence[Any]) -> None:
    """Note every violation."""
    _transfers(world)
    _ledger(world)
    _wants(world)
    _answered(world)
    _answers(world)
    _executions(world)
    _leftovers(world)


def _transfers(world: World) -> None:
    """M1: each authorization at most once, for the price it was claimed at."""
    seen = Counter((each.payer, each.nonce) for each in world.chain.transfers)
    for (payer, nonce), count in seen.items():
        if count > 1:
            world.violate("M1", f"{payer[:8]} {nonce[-4:]} was settled {count} times")
    for each in world.chain.transfers:
        if each.to == US and each.amount != AMOUNT:
            world.violate("M1", f"{each.amount} instead of {AMOUNT}")


def broadcast(world: World, signed: Signed) -> bool:
    """Whether we recorded a transaction for it."""
    return any(signed.payment in each.payment_ids for each in world.store.journal)


def _ledger(world: World) -> None:
    """M4, M5, M6: the records say what the chain says."""
    for payment, signed in world.signed.items():
        record, paid = world.store.records.get(payment), world.paid(payment)
        if record is None:
            if paid and broadcast(world, signed):
                world.violate("M4", f"{payment[:10]} was settled by us and is not on record")
            continue
        where = f"{payment[:10]} ({record.moment}, {record.state}, {record.reason})"
        if record.state in PAID and not paid:
            world.violate("M6", f"{where} is recorded as paid, and no money moved")
        if paid and record.state in (State.REFUSED, State.RELEASED) and broadcast(world, signed):
            world.violate("M6", f"{where} was settled by us")
        if paid and record.state is State.REFUSED and _after_claim(world, signed, record):
            world.violate("M6", f"{where} was paid after it was claimed")
        overdrawn = record.state is State.REFUSED and record.reason == "insufficient_funds"
        if overdrawn and signed.payer not in world.hostile:
            world.violate("M8", f"{where}: its payer had promised the same money elsewhere")


def _after_claim(world: World, signed: Signed, record: Record) -> bool:
    payer = wallet(signed.payer).address
    return any(
        (each.payer, each.nonce) == (payer, signed.nonce) and each.time > record.created_at + 1
        for each in world.chain.transfers
    )


def _wants(world: World) -> None:
    """M7 and M4 from the payer's side: charged at most once for each thing wanted, and not for nothing."""
    wanted: dict[tuple[int, str], list[Any]] = defaultdict(list)
    for want in world.wants:
        wanted[(want.payer, want.path)].append(want)
    charged = Counter(
        (world.signed[payment].payer, world.path_of(record.claim.digest))
        for payment, record in world.store.records.items()
        if record.state in PAID - {State.REFUND_DUE} and world.paid(payment) and payment not in world.proofs
    )
    for key, count in charged.items():
        wants = wanted.get(key, [])
        # Who asks several times at once may fetch several lost answers at once: each was paid for.
        most = sum(max(1, len(set(want.answers))) for want in wants)
        if count > most:
            world.violate(
                "M7", f"payer {key[0]} wanted {key[1]} {len(wants)} times and was charged {count} times"
            )
        answered = sum(len(set(want.answers)) for want in wants)
        if count > answered and not any(want.expected_refusal for want in wants) and not _owed(world, key):
            told = f"payer {key[0]} was charged {count} times for {key[1]}, answered {answered} times"
            world.violate("M4", f"{told}; {[want.refused for want in wants]}")


def _answered(world: World) -> None:
    """Whoever pays and is patient gets an answer in the end."""
    for want in world.wants:
        if want.answered or want.expected_refusal or want.payer in world.hostile | world.poor:
            continue
        if _owed(world, (want.payer, want.path)):
            continue
        world.violate("S1", f"payer {want.payer} never got {want.path} ({want.refused})")


def _owed(world: World, key: tuple[int, str]) -> bool:
    """Whether what was paid and not delivered is recorded as owed, or was asked for as often as allowed."""
    mine = [
        record
        for payment, record in world.store.records.items()
        if (world.signed[payment].payer, world.path_of(record.claim.digest)) == key
    ]
    return any(record.state is State.REFUND_DUE or record.redemptions >= MOST_REDEMPTIONS for record in mine)


def _answers(world: World) -> None:
    """M5: what was delivered is paid for, or is a loss that is counted. M2: one answer for a payment."""
    distinct: dict[str, set[bytes]] = defaultdict(set)
    for want in world.wants:
        for body in filter(world.upstream.served.__contains__, want.answers):
            distinct[world.upstream.served[body].payment].add(body)
    for payment, bodies in distinct.items():
        record = world.store.records.get(payment)
        if record is None:
            world.violate("M5", f"{payment[:10]} was delivered and is not on record")
            continue
        if not world.paid(payment) and not _counted_loss(world, record):
            world.violate(
                "M5", f"{payment[:10]} ({record.moment}, {record.state}) was delivered and not paid"
            )
        if len(bodies) > 1 + record.redemptions:
            world.violate("M2", f"{payment[:10]} has {len(bodies)} different answers")


def _counted_loss(world: World, record: Record) -> bool:
    return record.moment is Moment.DEFERRED and record.claim.id in world.store.losses


def _executions(world: World) -> None:
    """M2: work only under a claim or a redemption of its own. G1: no money for what was no answer."""
    fences: dict[str, Counter[int]] = defaultdict(Counter)
    good = set()
    for execution in world.upstream.executions:
        fences[execution.payment][execution.fence] += 1
        if execution.good:
            good.add(execution.payment)
    for payment, counted in fences.items():
        if max(counted.values()) > 1:
            world.violate("M2", f"{payment[:10]}: {max(counted.values())} executions under one lease")
    for payment, record in world.store.records.items():
        sold = (
            record.moment is Moment.BEFORE
            or payment in good
            or world.signed[payment].path.startswith("/lost")
        )
        if record.state in PAID and not sold:
            world.violate("G1", f"{payment[:10]} ({record.moment}) is paid, and the upstream gave no answer")


def _leftovers(world: World) -> None:
    """S1: nothing is left half done, no purse is bound, nothing stays for ever without a reason."""
    for payment, record in world.store.records.items():
        where = f"{payment[:10]} ({record.moment}, {record.state}, {record.reason})"
        if record.in_flight:
            world.violate("S1", f"{where} still counts against its payer")
        if record.queued is not None:
            world.violate("S1", f"{where} is still queued")
        final = record.state in (State.SETTLED, State.REFUSED, State.RELEASED, State.REFUND_DUE)
        if not final and (record.state is not State.SERVING or record.forget_at is None):
            world.violate("S1", f"{where} has no end")
        if record.redemptions > MOST_REDEMPTIONS:
            world.violate("M2", f"{where} was asked for again {record.redemptions} times")
        if record.forget_at is None and final and record.state is not State.REFUND_DUE:
            world.violate("S1", f"{where} would be kept for ever")
    open_ = [each for each in world.store.journal if (each.sender, each.hash) not in world.store.closed]
    for each in open_:
        if world.chain.known.get(each.hash) is not None and world.chain.known[each.hash].receipt is not None:
            records = [world.store.records.get(payment) for payment in each.payment_ids]
            if any(record is not None and record.state is not State.UNKNOWN for record in records):
                world.outcomes["journal entry left open"] += 1

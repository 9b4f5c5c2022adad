"""Everything around the gateways in one history, and what must be true at every moment of it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from facilitator.exact_evm import replay_key
from facilitator.packing import Batches
from facilitator.wire import Authorization
from gateway.payment import TRANSITIONS, Caps, Claimed, Moment, State, payment_id, request_digest
from simulation.chain import US, Chain
from simulation.faults import Faults, Plan
from simulation.loop import VirtualLoop
from simulation.memory import MemoryStore
from simulation.net import Pipe
from simulation.upstream import Execution, Upstream
from simulation.wallets import CHAIN_ID, TOKEN, authorization, credential, valid_until, wallet

AMOUNT = 10_000
CAPS = Caps(per_payer=2 * AMOUNT, total=3 * AMOUNT)
REDEEM_WINDOW = 3600.0
MAX_ANSWER = 2048
_ANSWER = re.compile(rb"answer (\d+) of ")
PAID = frozenset({State.SETTLED, State.SERVING, State.REFUND_DUE})


@dataclass(frozen=True, slots=True)
class Signed:
    """One authorization a payer made."""

    payer: int
    header: str
    payment: str
    nonce: str
    data: str
    path: str
    """What it was made for."""
    forged: bool = False


@dataclass(slots=True)
class Want:
    """One thing a payer wants once."""

    payer: int
    path: str
    answers: list[bytes] = field(default_factory=list)
    refused: str | None = None
    """Why it cannot be had: the code of the last 402."""
    expected_refusal: bool = False
    tries: int = 0

    @property
    def answered(self) -> bool:
        """Whether it was completely delivered at least once."""
        return bool(self.answers)


@dataclass(frozen=True, slots=True)
class Violation:
    """Something that must never be."""

    invariant: str
    what: str


class WatchedStore(MemoryStore):
    """The store, with a look at some steps as they happen."""

    world: World

    def reserve(self, claim: Any, **options: Any) -> Any:
        """Exposure stays under the caps."""
        outcome = super().reserve(claim, **options)
        if isinstance(outcome, Claimed):
            self.world.claimed(claim.id)
        return outcome

    def advance(self, lease: Any, step: Any) -> bool:
        """Only under the newest fence, and only as the table of transitions allows."""
        record = self.records.get(lease.payment_id)
        before = None if record is None else (record.fence, record.state)
        taken = super().advance(lease, step)
        if taken and before is not None:
            self.world.advanced(lease, step.to, *before)
        if not taken:
            self.world.refused(lease, step.to)
        return taken

    def record_transaction(self, epoch: int, transaction: Any) -> bool:
        """No second transaction for a payment while the first may still be mined."""
        recorded = super().record_transaction(epoch, transaction)
        if recorded:
            self.world.will_send(transaction)
        return recorded

    def mark(self, *, delivered: Any = (), left: Any = ()) -> None:
        """Nothing is marked as delivered that was not."""
        for each in delivered:
            self.world.marked(each)
        super().mark(delivered=delivered, left=left)


class World:
    """Chain, store, upstream, clients; ``violations`` grows as they are seen."""

    def __init__(
        self, loop: VirtualLoop, rng: Random, plan: Plan, tell: Callable[[str], None] | None
    ) -> None:
        self.loop = loop
        self.rng = rng
        self.faults = Faults(rng, loop, plan, say=self.say)
        self.chain = Chain(loop.unix)
        self.store = WatchedStore(
            loop.unix, redeem_window=REDEEM_WINDOW, released=300.0, max_answer=MAX_ANSWER
        )
        self.store.world = self
        self.upstream = Upstream(rng)
        self.signed: dict[str, Signed] = {}
        """By payment id."""
        self.wants: list[Want] = []
        self.violations: list[Violation] = []
        self.outcomes: Counter[str] = Counter()
        self.reached: Counter[str] = Counter()
        self.hostile: set[int] = set()
        """Payers that cancelled or drained: their refusals are their own doing."""
        self.poor: set[int] = set()
        """Payers whose money is not enough for all they want; they spend it once."""
        self.delivered: set[str] = set()
        """Payments whose answer some client has."""
        self.proofs: set[str] = set()
        """Payments whose authorizations fetched what another one had bought: a copy of the same request,
        on its way at the same time, may buy with it after all."""
        self.restarts = 0
        self.endpoints = 1
        self.batches = Batches()
        """Of the chain, as each gateway is told them."""
        self._paths: dict[str, str] = {}
        self._nonces = 0
        self._tell = tell

    def say(self, who: str, what: str) -> None:
        """One line of the trace, where there is one."""
        if self._tell is not None:
            self._tell(f"{self.loop.time():9.3f}  {who:<12} {what}")

    def violate(self, invariant: str, what: str) -> None:
        """Note a violation."""
        self.violations.append(Violation(invariant, what))
        self.say("VIOLATION", f"{invariant}: {what}")

    # What payers sign

    def sign(self, payer: int, path: str, *, forged: bool = False) -> Signed:
        """A fresh authorization for ``path``."""
        self._nonces += 1
        self.knows(path)
        before = valid_until(self.loop.unix())
        signed, signature = authorization(payer, self._nonces, before, AMOUNT)
        key = replay_key(CHAIN_ID, TOKEN.lower(), signed)
        header = credential(payer, self._nonces, before, AMOUNT, forged)
        made = Signed(
            payer, header, payment_id(key), signed.nonce.hex(), _data(signed, signature), path, forged
        )
        self.signed[made.payment] = made
        if not forged:
            self.chain.sign(signed, signature)
        return made

    def knows(self, path: str) -> None:
        """Somebody asks for ``path``."""
        self._paths[request_digest("GET", path, None, b"")] = path

    def path_of(self, digest: str) -> str:
        """What a payment is bound to."""
        return self._paths[digest]

    # What is looked at as it happens

    def executes(self, payment: str, path: str, by: str) -> int:
        """The upstream is about to work for a payment: only under the live lease of who asks (M2, S2)."""
        signed, record = self.signed[payment], self.store.records.get(payment)
        if signed.forged:
            self.violate("G1", f"work for {payment[:10]}, which its payer never signed")
        if record is None:
            self.violate("M3", f"work for {payment[:10]}, which is not claimed")
            return 0
        if self.path_of(record.claim.digest) != path:
            self.violate(
                "M2", f"{payment[:10]} is bound to {self.path_of(record.claim.digest)} and buys {path}"
            )
        if record.holder != by or not self.store.leased(record):
            self.violate("S2", f"{by} works for {payment[:10]} without its lease ({record.state})")
        if record.state not in (State.RESERVED, State.SERVING):
            self.violate("M2", f"work for {payment[:10]} while it is {record.state}")
        if record.moment is Moment.BEFORE and not self.paid(payment):
            self.violate("M3", f"work for {payment[:10]} on `before`, and no money moved")
        return record.fence

    def sends(self, pipe: Pipe) -> None:
        """Bytes leave for a client: no paid answer before its money, and only to its payer (M3, G3)."""
        for number in map(int, _ANSWER.findall(pipe.written)):
            execution = self.upstream.executions[number]
            if execution.status == 200:
                self._leaves(pipe, execution.payment, number)
                self._leased(execution)

    def arrives(self, pipe: Pipe) -> None:
        """A client has a whole answer."""
        execution = self.upstream.served.get(pipe.reply.body)
        if pipe.reply.status == 200 and execution is None:
            self.violate("G1", f"{pipe.reply.body[:20]!r} is no whole answer of the upstream")
        if pipe.reply.status == 200 and execution is not None:
            self.delivered.add(execution.payment)
            record = self.store.records.get(execution.payment)
            if record is None or record.state in (State.RESERVED, State.RELEASED):
                self.violate("M3", f"{execution.payment[:10]} is delivered, and not recorded as served")

    def _leaves(self, pipe: Pipe, payment: str, number: int) -> None:
        signed, record, who = self.signed[payment], self.store.records.get(payment), pipe.about
        if who is None or who.payer != signed.payer or who.bystander:
            self.violate("G3", f"answer {number} of payer {signed.payer} is read by {who}")
        asked, got = getattr(who, "path", None), self.upstream.executions[number].path
        if asked != got:
            self.violate("M2", f"who asked for {asked} gets {got}")
        if record is None:
            self.violate("M3", f"answer {number} leaves without a record of {payment[:10]}")
        elif record.moment is Moment.DEFERRED:
            if record.state is State.RELEASED:
                self.violate("M3", f"deferred answer {number} leaves while {payment[:10]} is {record.state}")
        elif not self.paid(payment):
            self.violate("M3", f"answer {number} leaves and {payment[:10]} moved no money ({record.state})")
        elif record.state not in PAID:
            self.violate("M3", f"answer {number} leaves while {payment[:10]} is recorded as {record.state}")

    def _leased(self, execution: Execution) -> None:
        """Until its end is recorded, an answer leaves under the lease it was asked for with (S2)."""
        record = self.store.records.get(execution.payment)
        if record is None or record.fence != execution.fence or self.store.leased(record):
            return
        if record.state in (State.RESERVED, State.SERVING):
            told = f"answer {execution.number} leaves for {execution.payment[:10]} ({record.state})"
            self.violate("S2", f"{told}, whose lease has ended")

    def claimed(self, payment: str) -> None:
        """A claim was made: exposure stays under the caps (M8)."""
        trusted = [
            each for each in self.store.records.values() if each.in_flight and each.moment is Moment.DEFERRED
        ]
        payer = self.store.records[payment].claim.payer
        own = sum(each.claim.amount for each in trusted if each.claim.payer == payer)
        total = sum(each.claim.amount for each in trusted)
        if total > CAPS.total or own > CAPS.per_payer:
            self.violate("M8", f"at risk: {own} of one payer, {total} in all")

    def advanced(self, lease: Any, to: State, fence: int, before: State) -> None:
        """A step was taken (S2)."""
        if lease.fence != fence:
            self.violate("S2", f"{lease.payment_id[:10]} becomes {to} under fence {lease.fence}, not {fence}")
        if to not in TRANSITIONS[before]:
            self.violate("S2", f"{lease.payment_id[:10]} goes from {before} to {to}")

    def refused(self, lease: Any, to: State) -> None:
        """A step was not taken (S2): somebody lost a claim, and nothing happened that takes claims away."""
        if not self.restarts and not self.faults.injected and not self.faults.plan.outages:
            self.violate("S2", f"{lease.payment_id[:10]} cannot become {to}, and nothing went wrong")

    def will_send(self, transaction: Any) -> None:
        """A transaction was recorded (M1): alone for its payment, unless the others can never be mined."""
        self.chain.now()
        mined = self.chain.counts.get(transaction.sender.rpartition(":")[2], 0)
        others = [
            each
            for each in self.store.journal
            if each.nonce != transaction.nonce and each.nonce >= mined and each.hash in self.chain.known
        ]
        again = {payment for each in others for payment in each.payment_ids} & set(transaction.payment_ids)
        # A record that came late may be sent by its lane beside the next one: that costs gas, not money.
        if again and "record_transaction" not in self.faults.late:
            told = ", ".join(sorted(payment[:10] for payment in again))
            self.violate("M1", f"{told} is sent again while it may still be mined")
        if transaction.shared:
            self.outcomes["sent together"] += 1

    def marked(self, payment: str) -> None:
        """Delivered means: some client has it all."""
        if payment not in self.delivered:
            self.violate("M4", f"{payment[:10]} is marked as delivered and nobody has its answer")

    def paid(self, payment: str) -> bool:
        """Whether the chain moved this payment's money to us."""
        signed = self.signed[payment]
        payer = wallet(signed.payer).address
        return any(
            (each.payer, each.nonce, each.to) == (payer, signed.nonce, US) for each in self.chain.transfers
        )


def _data(signed: Authorization, signature: bytes) -> str:
    from facilitator.token_abi import transfer_with_authorization

    return transfer_with_authorization(signed, signature)

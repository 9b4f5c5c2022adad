"""Planted bugs: what the simulator must not let pass. A suite that catches no planted bug proves nothing."""

from __future__ import annotations

from dataclasses import dataclass

from simulation.patching import Edit

EXCHANGE, OUTCOMES, REDEMPTION = "gateway.exchange", "gateway.outcomes", "gateway.redemption"
SETTLEMENT, STORE, DELIVERIES = "gateway.settlement", "simulation.memory", "gateway.deliveries"


@dataclass(frozen=True)
class Mutant:
    """One bug. Those in ``simulation.memory`` are bugs a real store could have."""

    name: str
    edits: tuple[Edit, ...]


def _mutant(name: str, *edits: tuple[str, str, str, str]) -> Mutant:
    return Mutant(name, tuple(Edit(*edit) for edit in edits))


MUTANTS = (
    # What the store promises
    _mutant(
        "NX dropped: whoever asks gets the claim",
        (STORE, "MemoryStore.reserve", "not self._claimable(same, claim, max_attempts)", "False"),
    ),
    _mutant(
        "the fence is forgotten in advance",
        (STORE, "MemoryStore._ours", "and record.fence == lease.fence", ""),
    ),
    _mutant(
        "the state is not looked at in advance",
        (STORE, "MemoryStore.advance", "record is None or record.state not in step.since", "record is None"),
    ),
    _mutant(
        "the key is not looked up",
        (STORE, "MemoryStore._keyed", "if claim.idempotency_key is None:", "if True:"),
        (STORE, "MemoryStore._lost", "record is same or ", "True or record is same or "),
    ),
    _mutant(
        "the key's scope is without the payer",
        (STORE, "MemoryStore._keyed", "(claim.payer, claim.route", "('', claim.route"),
        (STORE, "MemoryStore._claim", "(claim.payer, claim.route", "('', claim.route"),
    ),
    _mutant(
        "lost answers are not looked for",
        (STORE, "MemoryStore._lost", "record is same or ", "True or record is same or "),
    ),
    _mutant(
        "a dead instance's clients are still waited for",
        (STORE, "MemoryStore.silent", "name not in self.known or ", "name in self.known and "),
        ("gateway.presence", "Presence.bury_gone", "if not others:", "if True:"),
    ),
    _mutant(
        "losses are not remembered",
        (STORE, "MemoryStore._count", "if step.lost and record.exposure:", "if False:"),
    ),
    # The order of a request
    _mutant(
        "the answer leaves before its settlement",
        (
            EXCHANGE,
            "Exchange._respond",
            "payment is not None and payment.state is State.SETTLED",
            "payment is not None",
        ),
    ),
    _mutant(
        "the answer leaves before it is recorded",
        (
            EXCHANGE,
            "Exchange._after",
            "await self._take(kept, steps.served(pack(fetched), measure.note(), waits=True))",
            "pass",
        ),
        (
            EXCHANGE,
            "Exchange._after",
            "return await self._respond(purchase, await self._settled(purchase, kept), fetched)",
            "return self._outcomes.paid(purchase, await self._store.find(kept.lease.payment_id), fetched)",
        ),
    ),
    _mutant(
        "fails open while the store is away",
        (
            EXCHANGE,
            "Exchange._reserve",
            "reserved = await self._claim(purchase, claim)",
            "try:\n        reserved = await self._claim(purchase, claim)\n"
            "    except Problem:\n"
            "        return self._renderer.unpaid(await self._handout.fetch(purchase, claim.id, Measure()))",
        ),
    ),
    _mutant(
        "`before` does not wait for the money",
        (EXCHANGE, "Exchange._before", "not self._redemption.possible(payment)", "False"),
        (
            REDEMPTION,
            "Redemption.hand_out",
            "if lease is None:",
            "lease = lease or payment.lease\n    if False:",
        ),
    ),
    _mutant(
        "whatever the upstream says is sold",
        (EXCHANGE, "Exchange._after", "fetched.status not in purchase.route.success", "False"),
    ),
    _mutant(
        "a torn answer is sold",
        (
            "gateway.forward",
            "next_of",
            "raise _problem(error) from error",
            'return b""',
        ),
    ),
    _mutant(
        "deferred without caps",
        ("gateway.purchase", "Purchase.caps", "if exposure is None", "if True"),
    ),
    _mutant(
        "the payer's other claims are not counted",
        (
            "gateway.verifying",
            "Verifier.verify",
            "OtherClaims(claimed.in_flight, load)",
            "OtherClaims(0, load)",
        ),
    ),
    _mutant(
        "a claim is dropped while its work goes on",
        (EXCHANGE, "Exchange._claimed", "worked = True", "worked = False"),
    ),
    _mutant(
        "the queue's entry is written in a step of its own",
        ("gateway.steps", "served", "queued=True", "queued=None"),
        (
            EXCHANGE,
            "Exchange._take",
            "raise in_progress()",
            "raise in_progress()\n"
            "    await self._store.ping()\n"
            "    MemoryStore = self._store._store\n"
            "    if step.to is State.SERVED:\n"
            "        MemoryStore._queue(MemoryStore.records[kept.lease.payment_id], True)",
        ),
    ),
    # Leases
    _mutant(
        "leases last a second",
        (EXCHANGE, "LEASE", "10", "1.0"),
        ("gateway.leases", "LEASE", "10", "1.0"),
        (SETTLEMENT, "LEASE", "10", "1.0"),
        (REDEMPTION, "LEASE", "10", "1.0"),
    ),
    _mutant(
        "leases are never renewed",
        ("gateway.leases", "Leases.run", "if self._held:", "if False:"),
    ),
    _mutant(
        "nobody looks before forwarding whether the claim is still theirs",
        (EXCHANGE, "Exchange._announce", "if kept.doubtful:", "if False:"),
        (REDEMPTION, "Redemption.hand_out", "if kept.doubtful:", "if False:"),
    ),
    _mutant(
        "a lapsed lease is made good again",
        (
            "gateway.leases",
            "Kept.doubtful",
            "return self.lost or time.monotonic() >= self.until",
            "return self.lost",
        ),
        (STORE, "MemoryStore.renew", " and self.leased(record)", ""),
    ),
    _mutant(
        "nobody looks while an answer passes whether it is still theirs to give",
        ("gateway.stream", "PaidStream._send", "if self._kept.doubtful:", "if False:"),
    ),
    _mutant(
        "what is paid for is served without a lease",
        (
            REDEMPTION,
            "Redemption.hand_out",
            "lease = await self._store.redeem(payment.id, by=by, lease=LEASE, most=MOST)",
            "lease = payment.lease",
        ),
    ),
    # Who may read
    _mutant(
        "an authorization alone fetches its answer",
        (
            OUTCOMES,
            "Outcomes._fetchable",
            "why is Why.SAME and (purchase.key is None or purchase.key != payment.idempotency_key)",
            "False",
        ),
    ),
    _mutant(
        "the digest is not compared",
        (OUTCOMES, "Outcomes.unfinished", "payment.digest != purchase.digest", "False"),
        (STORE, "MemoryStore._claimable", "record.claim.digest != claim.digest or ", ""),
    ),
    _mutant(
        "a signature is believed as it stands",
        ("gateway.rails.x402", "X402Rail.read", "!= payload.authorization.sender", "is None"),
        ("facilitator.verifying", "Verifier.offline", "isinstance(signed, Refused)", "False"),
        ("facilitator.chain", "_simulation", "not isinstance(answer, RpcError)", "True"),
    ),
    # What became of answers
    _mutant(
        "that a client left is forgotten",
        (DELIVERIES, "Deliveries.left", "if payment_id not in self._delivered:", "if False:"),
    ),
    _mutant(
        "marked as delivered before it is written",
        (
            OUTCOMES,
            "Outcomes.paid",
            "answer.at_end(",
            "self._deliveries.delivered(payment.id)\n    answer.at_end(",
        ),
    ),
    _mutant(
        "every end counts as delivered",
        (DELIVERIES, "Deliveries.ended", "if taken:", "if True:"),
    ),
    # Settlement
    _mutant(
        "a pending settlement is answered as refused",
        (
            OUTCOMES,
            "Outcomes.unsettled",
            "await self._deliveries.leave(payment.id)",
            "return self.refused(purchase, Refused('settlement_failed'))",
        ),
    ),
    _mutant(
        "unknown is taken for failed",
        (
            SETTLEMENT,
            "Settler._concluded",
            "if isinstance(outcome, Refused):",
            "if isinstance(outcome, Unknown):\n"
            "        return changed(payment, state=State.REFUSED, reason='timeout')\n"
            "    if isinstance(outcome, Refused):",
        ),
    ),
    _mutant(
        "unknown is taken for settled",
        (
            SETTLEMENT,
            "Settler._concluded",
            "if isinstance(outcome, Refused):",
            "if isinstance(outcome, Unknown):\n"
            "        return changed(payment, state=State.SETTLED, transaction=outcome.transaction)\n"
            "    if isinstance(outcome, Refused):",
        ),
    ),
    _mutant(
        "unknown leaves the queue",
        (SETTLEMENT, "Settler._step", "queued=False if final and not owed else None", "queued=False"),
    ),
    _mutant(
        "what was not handed out is forgotten instead of owed",
        (
            SETTLEMENT,
            "Settler._owe",
            'await self._store.advance(payment.lease, steps.refund_due("not_handed_out"))',
            "await self._store.advance(payment.lease, Step(to=State.SETTLED, since=frozenset(State), "
            "in_flight=False, queued=False, forget_at=2 * 10**12))"
            " and await self._store.mark(delivered=[payment.id])",
        ),
    ),
    _mutant(
        "settled payments are kept for ever",
        (
            SETTLEMENT,
            "Settler._step",
            "forget_at=int(self._keep_until(concluded) * 1000) if final and not owed else None",
            "forget_at=None",
        ),
    ),
    _mutant(
        "a transaction is recorded after it was sent",
        (
            "facilitator.lane",
            "Lane.send",
            "if not await journal.record(outgoing):\n            return None\n"
            "        delivery = await signer.send(outgoing.raw)",
            "delivery = await signer.send(outgoing.raw)\n"
            "        if not await journal.record(outgoing):\n            return None",
        ),
    ),
    _mutant(
        "sent again with a new nonce instead of the recorded bytes",
        ("facilitator.settling", "Alone.run", "await self._go_on() if self._sent else None", "None"),
    ),
    _mutant(
        "what is taken up again counts as never tried",
        (
            "gateway.journal",
            "StoreJournal.begin",
            "if payment.history[-1:] == ((State.SETTLING, payment.read_at),):",
            "if True:",
        ),
    ),
    _mutant(
        "a record that seemed to fail counts as never tried",
        (
            "gateway.journal",
            "StoreJournal.record",
            "self._untouched.difference_update(transaction.payment_ids)",
            "pass",
        ),
    ),
    _mutant(
        "a used nonce is taken for our money",
        (
            "facilitator.evidence",
            "judge_used",
            'Refused(NOT_OURS, "cancelled by the payer")',
            "Settled(use.transaction)",
        ),
    ),
    _mutant(
        "a third party's transfer of the money is not recognised",
        ("facilitator.evidence", "_for_this_claim", "mined.sender not in our_keys and", "False and"),
    ),
    _mutant(
        "a reverted transaction is taken for a settlement",
        ("facilitator.testimony", "Case.proven_by", "return Moves", "return True or Moves"),
    ),
    _mutant(
        "gone from the pool is taken for refused",
        (
            "facilitator.settling",
            "Alone._start",
            "return Unknown() if self._sent else seen.refused",
            "return seen.refused",
        ),
        ("facilitator.settling", "Alone.run", "await self._go_on() if self._sent else None", "None"),
    ),
)

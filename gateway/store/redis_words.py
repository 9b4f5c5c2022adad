"""What the scripts are told, and how their replies are read."""

from __future__ import annotations

import json
from typing import Any

from gateway.payment import Caps, Claim, Claimed, Instance, Lease, Moment, Payment, Standing, Why
from gateway.store.record import (
    Limits,
    Row,
    encode_claim,
    exposed,
    idempotency_key,
    label,
    request_key,
    unlabel,
    void_at,
)
from gateway.store.redis_link import Word

BYTES = frozenset(map(Row._fields.index, ("claim", "note")))
"""The fields of a row that are bytes."""


def given(value: str | bytes | None) -> tuple[Word, Word]:
    """Whether there is a value, and the value: scripts know no None."""
    return (0, "") if value is None else (1, value)


def reserve_words(
    claim: Claim, by: str, lease: int, max_attempts: int, caps: Caps | None, limits: Limits
) -> tuple[Word, ...]:
    """The arguments of ``reserve.lua``, in its order."""
    key = idempotency_key(claim)
    return (
        claim.id,
        claim.digest,
        lease,
        max_attempts,
        encode_claim(claim),
        str(claim.amount),
        label(claim.purse),
        label(claim.route),
        label(claim.queue),
        label(by),
        label(claim.payer),
        request_key(claim).hex(),
        "" if key is None else key.hex(),
        void_at(claim),
        limits.redeem_window,
        claim.moment,
        exposed(claim.exposure),
        "" if caps is None else exposed(caps.per_payer),
        "" if caps is None else exposed(caps.total),
    )


def read_claimed(claim: Claim, reply: list[Any]) -> Claimed | Standing:
    """The reply of ``reserve.lua``."""
    if not reply[0]:
        _, why, read_at, row = reply
        return Standing(read_payment(row, read_at), Why(why.decode()))
    _, fence, attempt, created_at, others, moment, beside = reply
    return Claimed(
        Lease(claim.id, fence),
        attempt,
        created_at,
        sum(map(int, others)),
        Moment(moment.decode()),
        frozenset(unlabel(client.decode()) for client in beside),
    )


def read_payment(row: list[Any], read_at: int) -> Payment:
    """One ``row`` of the scripts: texts are decoded, the claim and the note stay bytes."""
    decoded: list[Any] = [
        field.decode() if isinstance(field, bytes) and at not in BYTES else field
        for at, field in enumerate(row)
    ]
    return Row._make(decoded).payment(read_at)


def read_payments(reply: list[Any]) -> list[Payment]:
    """The clock and the rows."""
    return [read_payment(row, reply[0]) for row in reply[1]]


def encode_instance(instance: Instance) -> bytes:
    """JSON with labels for texts: scripts compare them, and read no escapes."""
    texts = {name: label(getattr(instance, name)) for name in ("name", "slot", "run", "process")}
    return json.dumps(texts | {"number": instance.number}).encode()


def decode_instance(data: bytes) -> Instance:
    known = json.loads(data)
    texts = {name: unlabel(known[name]) for name in ("name", "slot", "run", "process")}
    return Instance(number=known["number"], **texts)

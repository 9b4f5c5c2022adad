"""What ``deferred`` payments put at risk. The sums are kept by triggers (``sqlite_schema``)."""

from __future__ import annotations

import sqlite3

from gateway.payment import Caps, Claim, Moment
from gateway.store.record import LOSS_KEPT_MS, exposed, label
from gateway.store.sqlite_schema import TOTAL

LOSE = """
INSERT INTO loss SELECT id, payer, exposed, ? FROM payment WHERE id = ? AND exposed
ON CONFLICT (id) DO NOTHING
"""


def moment(db: sqlite3.Connection, claim: Claim, caps: Caps | None) -> Moment:
    """The claim's own, or ``after`` where ``deferred`` would put too much at risk."""
    if claim.moment is not Moment.DEFERRED:
        return claim.moment
    payer = label(claim.payer)
    if db.execute("SELECT 1 FROM loss WHERE payer = ? LIMIT 1", (payer,)).fetchone():
        return Moment.AFTER
    return Moment.DEFERRED if caps is None or _within(db, payer, claim, caps) else Moment.AFTER


def withdraw(db: sqlite3.Connection, payment_id: str) -> None:
    """What it put at risk does not count any more: it is claimed anew, or its loss counts instead."""
    db.execute("UPDATE payment SET exposed = 0 WHERE id = ? AND exposed", (payment_id,))


def _within(db: sqlite3.Connection, payer: str, claim: Claim, caps: Caps) -> bool:
    amount = exposed(claim.exposure)
    return amount + _sum(db, payer) <= exposed(caps.per_payer) and amount + _sum(db, TOTAL) <= exposed(
        caps.total
    )


def _sum(db: sqlite3.Connection, payer: str) -> int:
    row = db.execute("SELECT amount FROM exposure WHERE payer = ?", (payer,)).fetchone()
    return int(row[0]) if row else 0


def recorded(claim: Claim, moment: Moment) -> dict[str, object]:
    """The columns of a claim that is recorded with this moment."""
    return {"moment": moment, "exposed": exposed(claim.exposure) if moment is Moment.DEFERRED else 0}


def lose(db: sqlite3.Connection, payment_id: str, now: int) -> None:
    """The payment's exposure goes on counting, whatever becomes of its record."""
    db.execute(LOSE, (now + LOSS_KEPT_MS, payment_id))
    withdraw(db, payment_id)


def recover(db: sqlite3.Connection, payment_id: str) -> None:
    """Its money came after all."""
    db.execute("DELETE FROM loss WHERE id = ?", (payment_id,))


def forget_losses(db: sqlite3.Connection, now: int) -> None:
    db.execute("DELETE FROM loss WHERE until <= ?", (now,))

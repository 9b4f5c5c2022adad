"""The audit finds what it is there for: one honest world, and everything that could be wrong with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from crash.audit import audit
from crash.evidence import Evidence, Execution, Transfer
from crash.on_x402 import a_cent_each, sums_agree
from crash.plan import Errand
from crash.wants import PRICE, Reply, Signed, Want

from gateway.devchain.accounts import DevAccount

NOW = 1_800_000_000.0
ERRAND = Errand("stock", "after", False, 0, 0.0, 9.0, 0.0, 0, False, False)


def signed(number: int, attempt: int = 1) -> Signed:
    return Signed(f"pay_{number}_{attempt}", f"0xpayer{number}", f"0x{attempt}", int(NOW) + 60)


def answer(number: int) -> bytes:
    return json.dumps({"number": number}).encode()


def bought(number: int, **errand: Any) -> Want:
    """A want that was answered at the first attempt, by the execution of the same number."""
    payer = DevAccount(f"0xpayer{number}", "0x")
    want = Want(number, f"/after/{number}", replace(ERRAND, **errand), payer, b"", [signed(number)])
    want.replies = [Reply(NOW - 1, NOW, 200, "", answer(number))]
    want.answer, want.ended = answer(number), "answered"
    return want


def record(number: int, attempt: int = 1, **changes: Any) -> dict[str, Any]:
    told = {
        "id": f"pay_{number}_{attempt}",
        "state": "settled",
        "transaction": f"0xtx{number}",
        "amount": str(PRICE),
        "attempts": 1,
        "redemptions": 0,
        "settle": "after",
        "delivered_at": datetime.fromtimestamp(NOW, UTC).isoformat(),
        "valid_before": str(int(NOW) + 60),
    }
    return told | changes


def transfer(number: int, attempt: int = 1, amount: int = PRICE) -> Transfer:
    return Transfer(f"pay_{number}_{attempt}", f"0xpayer{number}", amount, f"0xtx{number}")


class World:
    """Three honest purchases; a test spoils one thing."""

    def __init__(self) -> None:
        self.wants = [bought(number) for number in (1, 2, 3)]
        self.ledger = [record(number) for number in (1, 2, 3)]
        self.transfers = [transfer(number) for number in (1, 2, 3)]
        self.executions = [Execution(number, f"/after/{number}", f"pay_{number}_1") for number in (1, 2, 3)]

    def kinds(self) -> set[str]:
        evidence = Evidence(self.wants, self.ledger, self.transfers, self.executions, now=NOW)
        found = audit(evidence, (a_cent_each, sums_agree))
        return {finding.kind for finding in found}

    def unanswer(self, ended: str = "") -> None:
        """Who wanted the third one has nothing."""
        self.wants[2].answer, self.wants[2].ended, self.wants[2].replies = None, ended, []


def test_an_honest_world_has_no_findings() -> None:
    assert World().kinds() == set()


def test_who_left_may_find_the_answer_later() -> None:
    world = World()
    world.unanswer("quit")
    assert world.kinds() == set()


def test_an_unknown_outcome_may_wait_for_its_expiry() -> None:
    world = World()
    world.unanswer("quit")
    world.ledger[2]["state"] = "unknown"
    world.transfers.pop()
    assert world.kinds() == set()
    world.ledger[2]["valid_before"] = str(int(NOW) - 60)
    assert world.kinds() == {"left hanging"}


def test_what_came_to_nothing_may_be_forgotten_once_it_is_void() -> None:
    world = World()
    world.wants[0].signed.append(replace(signed(1, 2), valid_before=int(NOW) - 1))
    world.executions.append(Execution(4, "/after/1", "pay_1_2"))
    assert world.kinds() == set()
    world.wants[0].signed[1] = signed(1, 2)
    assert world.kinds() == {"work for a payment not on record"}


def test_a_delivery_that_broke_may_be_repeated_where_money_came_first() -> None:
    world = World()
    world.executions.append(Execution(4, "/after/1", "pay_1_1"))
    world.ledger[0]["settle"] = "before"
    assert world.kinds() == {"work done twice"}
    world.wants[0].replies.insert(0, Reply(NOW - 1, NOW, 0, "ReadError"))
    assert world.kinds() == set()
    world.ledger[0]["settle"] = "after"
    assert world.kinds() == {"work done twice"}


def test_who_gives_up_with_the_answer_in_its_kernel_is_a_new_customer() -> None:
    world = World()
    double_charge(world)
    world.wants[0].replies.insert(0, Reply(NOW - 1, NOW, 0, "ReadTimeout", gave_up=True))
    world.ledger[-1]["delivered_at"] = None
    assert world.kinds() == set()
    world.ledger[0]["delivered_at"] = datetime.fromtimestamp(NOW - 5, UTC).isoformat()
    assert world.kinds() == {"double charge"}


def test_pollers_may_get_each_others_lost_answers() -> None:
    """Two wants for one URL, two payments; the second was answered from the first one's record."""
    world = World()
    shared = world.wants[1]
    shared.path, shared.payer = world.wants[0].path, world.wants[0].payer
    shared.answer, shared.replies = answer(1), [Reply(NOW - 1, NOW, 200, "", answer(1), replayed=True)]
    world.executions[1] = Execution(2, "/after/1", "pay_2_1")
    assert world.kinds() == set()
    shared.replies = [Reply(NOW - 1, NOW, 200, "", answer(1))]
    assert world.kinds() == {"one answer sold twice"}


def double_charge(world: World) -> None:
    world.wants[0].signed.append(signed(1, 2))
    world.ledger.append(record(1, 2))
    world.transfers.append(transfer(1, 2))


def settled_twice(world: World) -> None:
    world.transfers.append(transfer(1))


def delivered_unpaid(world: World) -> None:
    world.transfers.pop()
    world.ledger[2] |= {"state": "released", "transaction": ""}


def lost_on_deferred(world: World) -> None:
    delivered_unpaid(world)
    world.wants[2].errand = replace(ERRAND, moment="deferred")


def paid_not_delivered(world: World) -> None:
    world.unanswer("409 payment_used")


def paid_and_forgotten(world: World) -> None:
    world.unanswer("quit")
    world.executions.pop()
    world.ledger.pop()


def paid_and_released(world: World) -> None:
    world.ledger[2]["state"] = "released"


def recorded_but_not_on_chain(world: World) -> None:
    world.unanswer("quit")
    world.transfers.pop()


def another_transaction(world: World) -> None:
    world.ledger[2]["transaction"] = "0xelse"


def another_amount(world: World) -> None:
    world.transfers[2] = transfer(3, amount=PRICE - 1)


def worked_twice(world: World) -> None:
    world.executions.append(Execution(4, "/after/3", "pay_3_1"))


def worked_for_nobody(world: World) -> None:
    world.executions.append(Execution(4, "/after/3", "pay_9_1"))


def a_strangers_record(world: World) -> None:
    world.ledger.append(record(9, state="released"))


def a_strangers_money(world: World) -> None:
    world.transfers.append(transfer(9))


def still_settling(world: World) -> None:
    world.ledger[2]["state"] = "settling"


def still_waiting(world: World) -> None:
    world.unanswer()


def anothers_answer(world: World) -> None:
    world.wants[0].answer = answer(2)


def what_the_client_saw(world: World) -> None:
    world.wants[0].wrong.append("answered before its transaction was mined")


@pytest.mark.parametrize(
    ("spoil", "kind"),
    [
        (double_charge, "double charge"),
        (settled_twice, "settled twice"),
        (delivered_unpaid, "delivered, unpaid"),
        (lost_on_deferred, "loss"),
        (paid_not_delivered, "paid, not delivered"),
        (paid_and_forgotten, "paid, not on record"),
        (paid_and_released, "money moved, not recorded as paid"),
        (recorded_but_not_on_chain, "recorded as paid, no money moved"),
        (another_transaction, "another transaction on record"),
        (another_amount, "another amount"),
        (worked_twice, "work done twice"),
        (worked_for_nobody, "work for a payment not on record"),
        (a_strangers_record, "a record nobody signed"),
        (a_strangers_money, "money nobody signed for"),
        (still_settling, "left hanging"),
        (still_waiting, "never answered"),
        (anothers_answer, "somebody else's answer"),
        (what_the_client_saw, "seen by the client"),
        (another_amount, "sums differ"),
    ],
)
def test_what_is_wrong_is_found(spoil: Callable[[World], None], kind: str) -> None:
    world = World()
    spoil(world)
    assert kind in world.kinds()

"""What only the wallets' service knows: one honest world, and everything that could be wrong with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from crash.api import numbered, used
from crash.audit import audit
from crash.conxa_audit import FLAT, WALLET_RULES, WalletEvidence, moved, payment_of, recognise
from crash.evidence import Execution
from crash.on_conxa import Holder
from crash.plan import Errand
from crash.wants import Reply, Want

from gateway.devconxa.ledger import Charge
from gateway.payment import request_digest

NOW = 1_800_000_000.0
ERRAND = Errand("stock", "after", False, 0, 0.0, 9.0, 0.0, 0, False, False)
ALICE = Holder("tollway-alice", "cx_alice", "1000000000000000")


class World:
    """Three honest purchases from one wallet, the third paid for beforehand; a test spoils one thing."""

    def __init__(self) -> None:
        self.wants = [self._want(number) for number in (1, 2, 3)]
        self.ledger = [self._record(want) for want in self.wants]
        self.executions = [Execution(each.number, each.path, f"pay_{each.number}") for each in self.wants]
        self.charges = [self._charge(number) for number in (1, 2, 3)]
        self.bodies = {each.key: {"{}": 1} for each in self.charges}
        self.spent = {ALICE.wallet: sum(charge.cost for charge in self.charges)}

    def _want(self, number: int) -> Want:
        moment = "before" if number == 3 else "after"
        body = json.dumps({"number": number}).encode()
        want = Want(number, f"/{moment}/{number}", replace(ERRAND, moment=moment), ALICE, b"")
        want.replies = [Reply(NOW - 1, NOW, 200, "", body)]
        want.answer, want.ended = body, "answered"
        return want

    def _record(self, want: Want) -> dict[str, object]:
        return {
            "id": f"pay_{want.number}",
            "state": "settled",
            "reason": "",
            "payer": ALICE.address,
            "digest": request_digest("GET", want.path, None, b""),
            "transaction": f"gw:pay_{want.number}:1:0",
            "attempts": 1,
            "redemptions": 0,
            "settle": want.errand.moment,
            "delivered_at": datetime.fromtimestamp(NOW, UTC).isoformat(),
            "valid_before": str(int(NOW) + 86_400),
        }

    def _charge(self, number: int, attempt: int = 0) -> Charge:
        put_in, put_out = FLAT if number == 3 else used(number)
        key, cost = f"gw:pay_{number}:1:{attempt}", put_in + put_out
        wallet = ALICE.wallet
        return Charge(number, "acme", key, ALICE.address, "ps", wallet, "m", put_in, put_out, cost, 0)

    def charge_again(self) -> None:
        """By another key, as somebody who forgot the first one would."""
        self.charges.append(self._charge(1, attempt=1))
        self.spent[ALICE.wallet] += self.charges[-1].cost

    def kinds(self) -> set[str]:
        recognise(self.wants, self.ledger, self.executions)
        evidence = WalletEvidence(
            self.wants,
            self.ledger,
            [moved(charge) for charge in self.charges],
            self.executions,
            charges=self.charges,
            bodies=self.bodies,
            spent=self.spent,
            now=NOW,
        )
        return {finding.kind for finding in audit(evidence, WALLET_RULES)}


def test_an_honest_world_has_no_findings() -> None:
    assert World().kinds() == set()


def test_who_sent_no_key_is_known_by_the_request() -> None:
    world = World()
    world.kinds()
    assert [signed.id for want in world.wants for signed in want.signed] == ["pay_1", "pay_2", "pay_3"]


def test_what_an_answer_says_of_its_execution() -> None:
    assert numbered(b'{"number": 7, "usage": {}}') == 7
    assert numbered(b'data: {"number": 8}\n\ndata: {"usage": {}}\n\ndata: [DONE]\n\n') == 8
    assert payment_of("tollway-1:pay_9:1700:0") == "pay_9"


def test_a_loss_on_record_is_no_finding() -> None:
    """Served on trust, and then the session ended."""
    world = World()
    world.charges.pop(0)
    world.spent[ALICE.wallet] = sum(charge.cost for charge in world.charges)
    world.ledger[0] |= {"settle": "deferred", "state": "refused", "reason": "session_expired"}
    assert world.kinds() == set()
    world.ledger[0]["settle"] = "after"
    assert world.kinds() == {"delivered, unpaid"}


def charged_twice(world: World) -> None:
    world.charge_again()


def not_charged(world: World) -> None:
    world.charges.pop(0)
    world.ledger[0] |= {"state": "released", "transaction": ""}


def other_tokens(world: World) -> None:
    world.charges[0] = replace(world.charges[0], output_tokens=1)


def the_tokens_of_an_answer_that_was_lost(world: World) -> None:
    world.executions.append(Execution(4, "/after/1", "pay_1"))
    put_in, put_out = used(4)
    world.charges[0] = replace(world.charges[0], input_tokens=put_in, output_tokens=put_out)


def another_body(world: World) -> None:
    world.bodies["gw:pay_1:1:0"] = {"{}": 1, '{"model_name": "other"}': 1}


def anothers_wallet(world: World) -> None:
    world.ledger[1]["payer"] = "tollway-bob"


def still_unknown(world: World) -> None:
    world.charges.pop(1)
    world.ledger[1] |= {"state": "unknown", "reason": "settlement_pending"}


def tokens_that_are_gone(world: World) -> None:
    world.spent[ALICE.wallet] += 1


def nobodys_charge(world: World) -> None:
    world.charges.append(world._charge(9))


@pytest.mark.parametrize(
    ("spoil", "kind"),
    [
        (charged_twice, "double charge"),
        (charged_twice, "settled twice"),
        (not_charged, "delivered, unpaid"),
        (other_tokens, "another amount"),
        (the_tokens_of_an_answer_that_was_lost, "charged for another answer"),
        (another_body, "a key with two bodies"),
        (anothers_wallet, "somebody else's wallet"),
        (still_unknown, "left hanging"),
        (tokens_that_are_gone, "sums differ"),
        (nobodys_charge, "money nobody signed for"),
    ],
)
def test_what_is_wrong_is_found(spoil: Callable[[World], None], kind: str) -> None:
    world = World()
    spoil(world)
    assert kind in world.kinds()

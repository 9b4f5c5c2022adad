"""What a receipt's logs prove, and for which of several payments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest

from facilitator import token_abi
from facilitator.moves import Moves
from facilitator.rpc import RpcUnavailable
from facilitator.wire import PaymentRequirements


def topics(name: str, *words: str) -> list[str]:
    return [name, *("0x" + token_abi.address_word(word) for word in words)]


def proof(payload: Any, terms: PaymentRequirements) -> dict[str, Any]:
    one = payload.authorization
    return {
        "status": "0x1",
        "logs": [
            {
                "address": terms.asset.lower(),
                "topics": topics(token_abi.AUTHORIZATION_USED, one.sender, "0x" + one.nonce.hex()),
                "data": "0x",
            },
            {
                "address": terms.asset,
                "topics": topics(token_abi.TRANSFER, one.sender, one.to),
                "data": "0x" + one.value.to_bytes(32, "big").hex(),
            },
        ],
    }


def test_proof(payer: Any, terms: PaymentRequirements) -> None:
    payload = payer.pay(terms)
    assert Moves(proof(payload, terms)).paid(terms.asset, payload.authorization)


@pytest.mark.parametrize("case", ["status", "token", "no_transfer", "no_use", "value", "to", "nonce", "data"])
def test_no_proof(case: str, payer: Any, terms: PaymentRequirements) -> None:
    """A token that does not revert on a used nonce, a receipt of another token, another amount, ..."""
    payload = payer.pay(terms)
    receipt = proof(payload, terms)
    used, moved = receipt["logs"]
    authorization = payload.authorization
    if case == "status":
        receipt["status"] = "0x0"
    elif case == "token":
        moved["address"] = "0x" + "22" * 20
    elif case == "no_transfer":
        receipt["logs"] = [used]
    elif case == "no_use":
        receipt["logs"] = [moved]
    elif case == "value":
        authorization = replace(authorization, value=authorization.value + 1)
    elif case == "to":
        authorization = replace(authorization, to="0x" + "33" * 20)
    elif case == "nonce":
        authorization = replace(authorization, nonce=bytes(32))
    else:
        moved["data"] = "0x"
    assert not Moves(receipt).paid(terms.asset, authorization)


def logs_of(payload: Any, terms: PaymentRequirements) -> tuple[dict[str, Any], dict[str, Any]]:
    used, moved = proof(payload, terms)["logs"]
    return used, moved


def receipt(*logs: dict[str, Any]) -> dict[str, Any]:
    return {"status": "0x1", "logs": list(logs)}


def paid(shown: dict[str, Any], payments: Sequence[Any], terms: PaymentRequirements) -> list[bool]:
    moves = Moves(shown)
    return [moves.paid(terms.asset, payload.authorization) for payload in payments]


@pytest.mark.parametrize("order", ["used first", "moved first"])
def test_equal_payments_of_one_payer(order: str, payer: Any, terms: PaymentRequirements) -> None:
    """Each has the transfer beside it, whichever of the two a token logs first."""
    payments = [payer.pay(terms) for _ in range(4)]
    pairs = [logs_of(payload, terms) for payload in payments]
    if order == "moved first":
        pairs = [(moved, used) for used, moved in pairs]
    assert paid(receipt(*(log for pair in pairs for log in pair)), payments, terms) == [True] * 4


def test_a_transfer_vouches_for_one_authorization(payer: Any, terms: PaymentRequirements) -> None:
    """Two were used and only one moved money: it is never both, in whatever order the logs are."""
    payments = [payer.pay(terms) for _ in range(2)]
    (one, moved), (other, _) = (logs_of(payload, terms) for payload in payments)
    for logs in permutations((one, moved, other)):
        assert sum(paid(receipt(*logs), payments, terms)) <= 1
    assert paid(receipt(one, moved, other), payments, terms) == [True, False]
    assert paid(receipt(other, one, moved), payments, terms) == [True, False]


def test_what_else_is_in_the_transaction_does_not_come_between(
    payer: Any, new_payer: Any, terms: PaymentRequirements
) -> None:
    """Other contracts' logs, the token's other logs, other transfers before it."""
    payload, stranger = payer.pay(terms), new_payer().pay(terms)
    used, moved = logs_of(payload, terms)
    elsewhere = {**moved, "address": "0x" + "22" * 20}
    approval = {**moved, "topics": ["0x" + "ab" * 32, *moved["topics"][1:]]}
    shown = receipt(logs_of(stranger, terms)[1], elsewhere, used, elsewhere, approval, moved)
    assert paid(shown, [payload, stranger], terms) == [True, False]


@pytest.mark.parametrize("broken", [{}, {"status": "0x1"}, {"status": "0x1", "logs": [{}]}])
def test_what_is_no_receipt(broken: dict[str, Any]) -> None:
    with pytest.raises(RpcUnavailable):
        Moves(broken)

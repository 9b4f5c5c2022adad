"""Payments that nobody here can read: a Solana transaction goes to a facilitator byte for byte, once."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from typing import Any

import pytest
from kit.answers import Answer, request
from kit.anvil import Anvil
from kit.deployment import Deployment
from kit.ops import assert_problem, eventually, ledger
from kit.payments import HEADER
from kit.remotely import deployed_remotely
from standins.facilitator import (
    FEE_PAYER,
    SOLANA,
    SUPPORTED,
    FacilitatorServer,
    done_then,
    honest,
    reset,
    say,
)

USDC = "4zMMC9srt5Ri5X14GAgXhaHii3GnPAEERYPJgZJDncDU"
PAYEE = "9xQeWvG816bUx9EPjHmaT23yvVM2ZWbrrpZb9PusVFin"
KEY = {"Idempotency-Key": "mine-and-nobody-elses"}
NETWORKS = {
    SOLANA: {"settle_within": "2s", "assets": {"USDC": {"address": USDC, "decimals": 6}}},
}


@pytest.fixture(scope="module")
def _there(anvil: Anvil) -> Iterator[FacilitatorServer]:
    with FacilitatorServer(anvil.url) as server:
        yield server


@pytest.fixture
def there(_there: FacilitatorServer) -> FacilitatorServer:
    _there.on("/settle", honest)
    _there.on("/verify", honest)
    _there.received.clear()
    _there.book.clear()
    return _there


@pytest.fixture(scope="module")
def _shop(
    anvil: Anvil, _there: FacilitatorServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("gateway")
    with deployed_remotely(
        anvil, folder, _there.url, pay_to={SOLANA: PAYEE}, networks=NETWORKS
    ) as deployment:
        yield deployment
        assert "Traceback" not in deployment.gateway.logs()


@pytest.fixture
def shop(_shop: Deployment, there: FacilitatorServer) -> Deployment:
    _shop.upstream.forget()
    return _shop


def offer(shop: Deployment, path: str) -> dict[str, Any]:
    """What the challenge asks for on Solana."""
    accepts = request(shop.url + path).challenge["accepts"]
    [found] = [each for each in accepts if each["network"] == SOLANA]
    return dict(found)


def transaction() -> str:
    """As a Solana wallet signs one, for those who do not look into it."""
    return base64.b64encode(b"\x01" + os.urandom(96)).decode()


def header(raw: str) -> dict[str, str]:
    return {HEADER[2]: base64.b64encode(raw.encode()).decode()}


def written(accepted: dict[str, Any], signed: dict[str, Any]) -> str:
    return json.dumps({"x402Version": 2, "accepted": accepted, "payload": signed})


def send(shop: Deployment, path: str, raw: str, **headers: str) -> Answer:
    return request(shop.url + path, headers={**header(raw), **headers})


def test_the_challenge_names_who_pays_the_fee(shop: Deployment) -> None:
    found = offer(shop, "/v1/a")
    assert found["extra"]["feePayer"] == FEE_PAYER
    assert (found["amount"], found["asset"], found["payTo"]) == ("10000", USDC, PAYEE)


def test_byte_for_byte_and_once(shop: Deployment, there: FacilitatorServer) -> None:
    accepted = offer(shop, "/v1/a")
    signed = f'{{ "transaction" : "{transaction()}",  "memo":"n\\u00e4her", "more":[1.50, 1e2] }}'
    raw = f'{{"payload":{signed},\r\n "accepted": {json.dumps(accepted)}, "x402Version" : 2}}'
    answer = send(shop, "/v1/a", raw, **KEY)
    assert answer.status == 200, answer.body
    assert [answer.transaction] == list(there.book.values())
    assert answer.receipt and answer.receipt["network"] == SOLANA
    for body in (*there.bodies("/verify"), *there.bodies("/settle")):
        assert b'"paymentPayload":' + raw.encode() + b"," in body
    assert there.received[-1].document["paymentRequirements"] == accepted

    assert_problem(send(shop, "/v1/a", raw), 409, "payment_used")
    again = send(shop, "/v1/a", raw, **KEY)
    assert (again.status, again.body) == (200, answer.body)
    assert shop.upstream.count("/v1/a") == 1
    assert there.count("/settle") == 1


def test_written_otherwise_it_is_the_same_payment(shop: Deployment, there: FacilitatorServer) -> None:
    """Keys in another order, white space, escapes, other fields around it: what was signed is the same."""
    accepted, signed = offer(shop, "/v1/b"), {"transaction": transaction(), "memo": "näher"}
    assert send(shop, "/v1/b", written(accepted, signed)).status == 200
    reordered = {"memo": "näher", "transaction": signed["transaction"]}
    others = [
        written(accepted, reordered),
        json.dumps({"payload": reordered, "accepted": accepted, "x402Version": 2}, indent=2),
        json.dumps({"more": 1} | json.loads(written(accepted, signed)), ensure_ascii=False),
    ]
    for other in others:
        assert_problem(send(shop, "/v1/b", other), 409, "payment_used")
    assert (shop.upstream.count("/v1/b"), there.count("/settle"), len(there.book)) == (1, 1, 1)


def test_what_anybody_can_change_makes_no_other_payment(shop: Deployment, there: FacilitatorServer) -> None:
    """A Solana transaction is its message: an empty signature filled with junk, or a member beside it, is no
    more money, though a facilitator may well call it settled."""
    accepted, signed = offer(shop, "/v1/b"), transaction()
    assert send(shop, "/v1/b", written(accepted, {"transaction": signed})).status == 200
    wire = bytearray(base64.b64decode(signed))
    wire[1:65] = os.urandom(64)
    resigned = base64.b64encode(wire).decode()
    for other in ({"transaction": resigned}, {"transaction": signed, "junk": 1}):
        assert_problem(send(shop, "/v1/b", written(accepted, other)), 409, "payment_used")
    for broken in (signed[:-3], signed + "\n", "", 7, "AQ==", None):
        assert send(shop, "/v1/b", written(accepted, {"transaction": broken})).status == 400
    assert (shop.upstream.count("/v1/b"), there.count("/settle")) == (1, 1)


def test_it_buys_nothing_else(shop: Deployment, there: FacilitatorServer) -> None:
    raw = written(offer(shop, "/v1/c"), {"transaction": transaction()})
    assert send(shop, "/v1/c", raw, **KEY).status == 200
    assert send(shop, "/v1/d", raw, **KEY).status == 409
    assert send(shop, "/v1/c?more=1", raw).status == 409
    assert shop.upstream.count() == 1


@pytest.mark.parametrize(
    "changes",
    [{"amount": "1"}, {"payTo": USDC}, {"network": "solana:other"}, {"scheme": "upto"}, {"asset": PAYEE}],
    ids=str,
)
def test_other_terms_than_ours_reach_nobody(
    changes: dict[str, str], shop: Deployment, there: FacilitatorServer
) -> None:
    raw = written(offer(shop, "/v1/e") | changes, {"transaction": transaction()})
    assert send(shop, "/v1/e", raw).status in (400, 402)
    assert there.count("/verify") + there.count("/settle") + shop.upstream.count() == 0


def test_settled_and_not_said(shop: Deployment, there: FacilitatorServer) -> None:
    """The answer is lost: the same bytes come again to the same facilitator, who knows what it did."""
    there.on("/settle", done_then(reset), done_then(say({"success": False, "errorReason": "x"}, 500)), honest)
    raw = written(offer(shop, "/v1/f"), {"transaction": transaction()})
    first = send(shop, "/v1/f", raw, **KEY)
    assert first.status in (200, 503)
    eventually(lambda: ledger(shop.gateway)[0]["state"] == "settled")
    assert send(shop, "/v1/f", raw, **KEY).status == 200
    assert len(set(there.bodies("/settle"))) == 1 and there.count("/settle") == 3
    assert (shop.upstream.count("/v1/f"), len(there.book)) == (1, 1)


def test_a_refusal_is_told(shop: Deployment, there: FacilitatorServer) -> None:
    there.on("/verify", say({"isValid": False, "invalidReason": "invalid_exact_svm_payload_amount_mismatch"}))
    answer = send(shop, "/v1/g", written(offer(shop, "/v1/g"), {"transaction": transaction()}))
    assert (answer.status, answer.challenge["error"]) == (402, "invalid_payload")
    assert shop.upstream.count() == 0


def test_it_is_offered_once_a_facilitator_lists_it(
    anvil: Anvil, there: FacilitatorServer, tmp_path: Any
) -> None:
    """facilitator-21: an empty list, then another: the challenge follows, and nobody restarts anything."""
    there.supported = {"kinds": []}
    try:
        with deployed_remotely(anvil, tmp_path, there.url, pay_to={SOLANA: PAYEE}, networks=NETWORKS) as shop:
            accepts = request(shop.url + "/v1/h").challenge["accepts"]
            assert [each["network"] for each in accepts] == ["eip155:84532"]
            there.supported = SUPPORTED
            accepts = eventually(lambda: _two(shop))
            assert accepts[1]["extra"]["feePayer"] == FEE_PAYER
    finally:
        there.supported = SUPPORTED


def _two(shop: Deployment) -> Any:
    accepts = request(shop.url + "/v1/h").challenge["accepts"]
    return accepts if len(accepts) == 2 else None

"""Mutated credentials sent to a running gateway: each is bought with, or refused before any work is done."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from eth_abi.exceptions import EncodingError
from kit.answers import request
from kit.anvil import Anvil
from kit.corpus import PRICES, ROUTES, rows
from kit.deployment import Deployment, deployed
from kit.mutate import Craft
from kit.payments import SignedPayment

FundedAccount = Callable[..., Any]
ROWS = [row for row in rows("payment") if "ops" in row]


@pytest.fixture(scope="module")
def priced(anvil: Anvil, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with deployed(anvil, tmp_path_factory.mktemp("gateway"), routes=ROUTES) as deployment:
        yield deployment
        assert "Traceback" not in deployment.gateway.logs()


def craft(payment: SignedPayment, ops: list[dict[str, Any]]) -> Craft:
    document = payment.document()

    def sign(authorization: dict[str, Any]) -> str | None:
        payment.authorization = authorization
        try:
            return payment.resign().signature
        except (ValueError, TypeError, EncodingError):
            return None

    made = Craft(document, sign)
    for op in ops:
        made.apply(op)
    return made


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["id"])
def test_row(row: dict[str, Any], priced: Deployment, funded_account: FundedAccount) -> None:
    version = 1 if row["header"] == "X-PAYMENT" else 2
    payment = priced.sign("/paid/item", funded_account(), version)
    value = craft(payment, row["ops"]).header()
    priced.upstream.forget()
    earned = priced.earned()

    answer = request(priced.url + "/paid/item", headers={row["header"]: value})

    paid = priced.earned() - earned
    if row["expect"] == "OK":
        assert answer.status == 200 and paid == int(PRICES["A"]) and priced.upstream.count() == 1
        return
    assert paid == 0 and priced.upstream.count() == 0
    if row["expect"] == "BAD400":
        assert answer.status == 400
    elif row["expect"] == "BAD4XX":
        assert answer.status in (400, 402, 431)
    else:
        assert row["expect"] == "PAY402" and answer.status == 402
        assert answer.json()["error"] == answer.challenge["error"] != "payment_required"
        assert answer.challenge["accepts"], "a refusal carries a fresh challenge"


def test_the_same_payment_re_encoded(priced: Deployment, funded_account: FundedAccount) -> None:
    """Key order, white space and the case of hex are no new payment; base64url is none at all."""
    payment = priced.sign("/paid/item", funded_account())
    assert request(priced.url + "/paid/item", headers=payment.headers).status == 200
    document = payment.document()
    authorization = {
        k: v.upper().replace("0X", "0x") for k, v in document["payload"]["authorization"].items()
    }
    document["payload"] = {"authorization": authorization, "signature": document["payload"]["signature"]}
    spaced = base64.b64encode(json.dumps(document, indent=3).encode()).decode()
    again = request(priced.url + "/paid/item", headers={"PAYMENT-SIGNATURE": spaced})
    assert (again.status, again.json()["code"]) == (409, "payment_used")
    url_safe = base64.urlsafe_b64encode(json.dumps({"x": "???>>>"}).encode()).decode()
    assert request(priced.url + "/paid/item", headers={"PAYMENT-SIGNATURE": url_safe}).status == 400


def test_garbage_costs_no_chain_call_and_no_store_write(priced: Deployment, anvil: Anvil) -> None:
    """A forged signature is found out before anybody is asked."""
    from kit.accounts import new_account

    payment = priced.sign("/paid/item", new_account())
    payment.authorization["from"] = new_account().address
    for _ in range(20):
        answer = request(priced.url + "/paid/item", headers=payment.headers)
        assert (answer.status, answer.json()["code"]) == (402, "invalid_exact_evm_payload_signature")
    payments = request(priced.gateway.admin + "/payments?limit=500").json()["payments"]
    assert payment.authorization["from"].lower() not in {each["payer"] for each in payments}

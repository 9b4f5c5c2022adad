"""``settle: before``: the money first; what then does not come is owed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kit.answers import Answer, request
from kit.anvil import Anvil
from kit.deployment import PRICE, Deployment, deployed
from kit.dialogue import Dialogue
from kit.dialogue import request as wire
from kit.ops import eventually, ledger
from kit.payments import SignedPayment
from kit.upstream_answers import chunked, die_in_mid_body, events, hang, held, ok_bytes, ok_json, status

FundedAccount = Callable[..., Any]
PATH = "/v1/report"
KEY = {"Idempotency-Key": "mine-and-nobody-elses"}
ROUTES = [
    {"match": "* /v1/**", "price": "$0.01", "settle": "before", "timeout": "2s"},
    {"match": "* /free/**", "price": "free"},
]


@pytest.fixture
def shop(anvil: Anvil, tmp_path: Path) -> Iterator[Deployment]:
    with deployed(anvil, tmp_path, routes=ROUTES) as deployment:
        yield deployment
        assert "Traceback" not in deployment.gateway.logs()


def only_payment(shop: Deployment) -> dict[str, Any]:
    (payment,) = ledger(shop.gateway)
    return payment


def send(shop: Deployment, payment: SignedPayment, **headers: str) -> Answer:
    return request(shop.url + PATH, headers={**payment.headers, **headers})


def test_it_is_settled_before_the_upstream_is_asked(shop: Deployment, funded_account: FundedAccount) -> None:
    held_at: list[int] = []
    shop.upstream.on(PATH, held(_set(lambda: held_at.append(shop.earned())), ok_json({"a": 1})))
    answer = shop.buy(PATH, funded_account())
    assert (answer.status, answer.json()) == (200, {"a": 1})
    assert answer.receipt and answer.receipt["success"] and answer.transaction
    assert held_at == [PRICE]
    assert eventually(lambda: only_payment(shop)["delivered_at_ms"])
    assert only_payment(shop)["state"] == "settled"


class _set(threading.Event):
    """Set already; who waits on it does something first."""

    def __init__(self, first: Callable[[], None]) -> None:
        super().__init__()
        self.first = first
        self.set()

    def wait(self, timeout: float | None = None) -> bool:
        self.first()
        return super().wait(timeout)

    def is_set(self) -> bool:
        self.first()
        return super().is_set()


def test_an_answer_streams_as_it_comes(shop: Deployment, funded_account: FundedAccount) -> None:
    shop.upstream.on(PATH, events("one", "two", "three", pause=0.4))
    with Dialogue(shop.url) as client:
        client.say(wire("GET", PATH, shop.sign(PATH, funded_account()).headers))
        head = client.until(b"\r\n\r\n")
        assert b"PAYMENT-RESPONSE" in head and b"text/event-stream" in head
        client.until(b"data: one")
        assert b"three" not in client._read
        client.until(b"0\r\n\r\n")
    assert shop.earned() == PRICE


FAILURES = {"500": status(500), "404": status(404), "hang": hang(), "breaks": die_in_mid_body()}


@pytest.mark.parametrize(
    ("failure", "how"),
    [*((failure, "a fresh signature") for failure in FAILURES), ("500", "the key"), ("breaks", "the key")],
)
def test_what_failed_is_owed_and_redeemed(
    failure: str, how: str, shop: Deployment, funded_account: FundedAccount
) -> None:
    payer = funded_account()
    payment = shop.sign(PATH, payer)
    key = KEY if how == "the key" else {}
    shop.upstream.on(PATH, FAILURES[failure])
    if failure != "breaks":
        failed = send(shop, payment, **key)
        assert failed.status in (500, 404, 504)
        assert failed.receipt and failed.receipt["success"] and failed.transaction
    else:
        with Dialogue(shop.url) as client:
            client.say(wire("GET", PATH, {**payment.headers, **key})).until(b"half")
            assert client.closed()
    eventually(lambda: only_payment(shop)["state"] == "refund_due")
    shop.upstream.on(PATH, ok_json({"at": "last"}))

    ask = shop.sign(PATH, payer) if how == "a fresh signature" else payment
    redeemed = eventually(lambda: _unless_pending(send(shop, ask, **key)))

    assert (redeemed.status, redeemed.json()) == (200, {"at": "last"})
    assert shop.earned() == PRICE
    assert only_payment(shop)["state"] == "settled"
    assert eventually(lambda: only_payment(shop)["delivered_at_ms"])


def _unless_pending(answer: Answer) -> Answer | None:
    return None if answer.status in (409, 503) else answer


def test_a_credential_rebuilt_from_calldata_redeems_nothing(
    shop: Deployment, funded_account: FundedAccount
) -> None:
    """All of a stock client's header can be made from the transaction and the public 402."""
    payment = shop.sign(PATH, funded_account())
    shop.upstream.on(PATH, status(500))
    send(shop, payment)
    eventually(lambda: only_payment(shop)["state"] == "refund_due")

    for key in ({}, {"Idempotency-Key": "a guess"}):
        seen = send(shop, payment, **key)
        assert (seen.status, seen.json()["code"]) == (409, "payment_used")
    assert shop.upstream.count(PATH) == 1


def test_failures_of_the_upstream_do_not_use_redemptions_up(
    shop: Deployment, funded_account: FundedAccount
) -> None:
    payment = shop.sign(PATH, funded_account())
    shop.upstream.on(PATH, status(500))
    assert [send(shop, payment, **KEY).status for _ in range(6)] == [500] * 6
    shop.upstream.on(PATH, ok_json({"at": "last"}))
    assert send(shop, payment, **KEY).status == 200 and shop.earned() == PRICE


def test_two_redeem_at_once_and_one_is_served(shop: Deployment, funded_account: FundedAccount) -> None:
    payer, word = funded_account(), threading.Event()
    payment = shop.sign(PATH, payer)
    shop.upstream.on(PATH, status(500))
    send(shop, payment, **KEY)
    shop.upstream.on(PATH, held(word, ok_json({"at": "last"})))
    first: list[Answer] = []
    asking = threading.Thread(target=lambda: first.append(send(shop, payment, **KEY)))
    asking.start()
    shop.upstream.wait_for(2, PATH)

    second = send(shop, payment, **KEY)
    fresh = send(shop, shop.sign(PATH, payer))
    word.set()
    asking.join()

    assert (second.status, second.json()["code"]) == (409, "payment_in_progress")
    assert (fresh.status, fresh.json()["code"]) == (503, "settlement_pending")
    assert first[0].status == 200 and shop.upstream.count(PATH) == 2 and shop.earned() == PRICE


@pytest.mark.parametrize("point", ["K8", "K9", "K3", "K4"])
def test_a_gateway_that_dies_between_money_and_answer_owes_it(
    point: str, shop: Deployment, funded_account: FundedAccount
) -> None:
    payer = funded_account()
    payment = shop.sign(PATH, payer)
    shop.gateway.stop()
    shop.gateway.start(TOLLWAY_CRASH=point)
    with pytest.raises(OSError):
        send(shop, payment)
    shop.gateway.wait()
    shop.gateway.start()

    redeemed = eventually(lambda: _unless_pending(send(shop, shop.sign(PATH, payer))))

    assert redeemed.status == 200 and shop.earned() == PRICE
    assert eventually(lambda: only_payment(shop)["state"] == "settled")


def test_what_nobody_fetches_is_told_to_the_operator(shop: Deployment, funded_account: FundedAccount) -> None:
    payment = shop.sign(PATH, funded_account())
    shop.gateway.stop()
    shop.gateway.start(TOLLWAY_CRASH="K9")
    with pytest.raises(OSError):
        send(shop, payment)
    shop.gateway.wait()
    shop.gateway.start()
    told = eventually(lambda: _of_state(only_payment(shop), "refund_due"))
    assert told["reason"] == "not_handed_out" and told["transaction"]


def _of_state(payment: dict[str, Any], state: str) -> dict[str, Any] | None:
    return payment if payment["state"] == state else None


def test_a_refusal_by_the_chain_never_reaches_the_upstream(
    shop: Deployment, funded_account: FundedAccount
) -> None:
    payer = funded_account(PRICE // 2)
    assert shop.buy(PATH, payer).status == 402
    assert shop.upstream.count(PATH) == 0 and not ledger(shop.gateway)


def test_a_streamed_answer_is_fetched_again_from_the_store(
    shop: Deployment, funded_account: FundedAccount
) -> None:
    payer, word = funded_account(), threading.Event()
    shop.upstream.on(PATH, held(word, chunked(b"all ", b"of ", b"it")))
    with Dialogue(shop.url) as client:
        client.say(wire("GET", PATH, shop.sign(PATH, payer).headers))
        shop.upstream.wait_for(1, PATH)
        client.hang_up()
    word.set()
    answer = eventually(lambda: _unless_pending(shop.buy(PATH, payer)))
    assert answer.body == b"all of it" and answer.headers["idempotent-replayed"] == "true"
    assert shop.upstream.count(PATH) == 1 and shop.earned() == PRICE


def test_head_is_sold_too(shop: Deployment, funded_account: FundedAccount) -> None:
    shop.upstream.on(PATH, ok_bytes(b"x" * 100))
    payment = shop.sign(PATH, funded_account(), method="HEAD")
    answer = request(shop.url + PATH, "HEAD", payment.headers)
    assert answer.status == 200 and answer.headers["content-length"] == "100" and answer.transaction

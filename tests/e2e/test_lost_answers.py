"""An answer that was paid for and lost is fetched again by its payer, and by nobody else."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from kit.answers import Answer, request
from kit.deployment import PRICE, Deployment
from kit.dialogue import Dialogue
from kit.dialogue import request as wire
from kit.ops import eventually, ledger, records
from kit.payments import SignedPayment
from kit.upstream_answers import held, later, ok_bytes, ok_json

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
FundedAccount = Callable[..., Any]
KEY = {"Idempotency-Key": "mine-and-nobody-elses"}
PATH = "/v1/goods"


def until_settled(ask: Callable[[], Answer]) -> Answer:
    """Asks as clients do that are told to come again."""

    def once() -> Answer | None:
        answer = ask()
        return None if answer.status in (409, 503) else answer

    return eventually(once)  # type: ignore[return-value]


def only_payment(shop: Deployment) -> dict[str, Any]:
    (payment,) = ledger(shop.gateway)
    return payment


def hung_up_on(shop: Deployment, payment: SignedPayment, path: str = PATH) -> threading.Event:
    """A client that leaves while the upstream works; the event lets the upstream answer."""
    word = threading.Event()
    shop.upstream.on(path, held(word, ok_json({"the": "goods"})))
    with Dialogue(shop.url) as client:
        client.say(wire("GET", path, payment.headers))
        shop.upstream.wait_for(1, path)
        client.hang_up()
    eventually(lambda: only_payment(shop)["left"])
    return word


def test_a_fresh_signature_gets_what_a_client_left_behind(
    single: Deployment, funded_account: FundedAccount
) -> None:
    payer = funded_account()
    hung_up_on(single, single.sign(PATH, payer)).set()

    answer = until_settled(lambda: single.buy(PATH, payer))

    assert (answer.status, answer.json()) == (200, {"the": "goods"})
    assert answer.headers["idempotent-replayed"] == "true" and answer.transaction
    assert single.upstream.count(PATH) == 1 and single.earned() == PRICE
    assert only_payment(single)["state"] == "settled"


def test_who_left_before_the_work_begins_buys_nothing(
    single: Deployment, funded_account: FundedAccount
) -> None:
    """As where its request waited for a worker that was just starting: it may have been served elsewhere."""
    payment = single.sign(PATH, funded_account())
    with Dialogue(single.url) as client:
        client.say(wire("GET", PATH, payment.headers))
    eventually(lambda: [line for line in records(single.gateway, "request") if line["status"] == 409])
    assert single.upstream.count(PATH) == 0 and ledger(single.gateway) == []
    assert request(single.url + PATH, headers=payment.headers).status == 200


def test_who_only_ends_its_side_is_served(single: Deployment, funded_account: FundedAccount) -> None:
    payment = single.sign(PATH, funded_account())
    with Dialogue(single.url) as client:
        client.say(wire("GET", PATH, payment.headers))
        client.half_close()
        assert client.until(b"\r\n\r\n") == client.until(b"\r\n\r\n") == CONTINUE
        assert client.whole().status == 200
    assert single.upstream.count(PATH) == 1


def test_while_its_upstream_works_a_fresh_signature_waits(
    single: Deployment, funded_account: FundedAccount
) -> None:
    payer = funded_account()
    word = hung_up_on(single, single.sign(PATH, payer))

    told = single.buy(PATH, payer)

    assert (told.status, told.json()["code"]) == (503, "settlement_pending")
    assert told.headers["retry-after"] and single.upstream.count(PATH) == 1
    word.set()
    assert until_settled(lambda: single.buy(PATH, payer)).status == 200
    assert single.earned() == PRICE


def test_once_it_is_delivered_a_fresh_signature_buys_again(
    single: Deployment, funded_account: FundedAccount
) -> None:
    payer = funded_account()
    hung_up_on(single, single.sign(PATH, payer)).set()
    assert until_settled(lambda: single.buy(PATH, payer)).status == 200
    eventually(lambda: only_payment(single)["delivered_at_ms"])

    again = single.buy(PATH, payer)

    assert again.status == 200 and "idempotent-replayed" not in again.headers
    assert single.earned() == 2 * PRICE and single.upstream.count(PATH) == 2


def test_somebody_else_pays_for_themselves(single: Deployment, funded_account: FundedAccount) -> None:
    hung_up_on(single, single.sign(PATH, funded_account())).set()
    eventually(lambda: only_payment(single)["state"] == "settled")
    answer = single.buy(PATH, funded_account())
    assert answer.status == 200 and "idempotent-replayed" not in answer.headers
    assert single.earned() == 2 * PRICE


def test_another_request_of_the_same_payer_is_another_purchase(
    single: Deployment, funded_account: FundedAccount
) -> None:
    payer = funded_account()
    hung_up_on(single, single.sign(PATH, payer)).set()
    eventually(lambda: only_payment(single)["state"] == "settled")
    answer = single.buy(PATH + "?other=1", payer)
    assert answer.status == 200 and "idempotent-replayed" not in answer.headers


def test_a_payer_with_nothing_left_gets_the_lost_answer(
    single: Deployment, funded_account: FundedAccount
) -> None:
    """The lost answer took the last cent: the fresh authorization only shows who asks."""
    payer = funded_account(PRICE)
    hung_up_on(single, single.sign(PATH, payer)).set()
    assert until_settled(lambda: single.buy(PATH, payer)).status == 200
    assert single.earned() == PRICE


def test_a_credential_rebuilt_from_calldata_gets_nothing(
    single: Deployment, funded_account: FundedAccount
) -> None:
    payment = single.sign(PATH, funded_account())
    hung_up_on(single, payment).set()
    eventually(lambda: only_payment(single)["state"] == "settled")

    seen = request(single.url + PATH, headers=payment.headers)

    assert (seen.status, seen.json()["code"]) == (409, "payment_used")
    assert b"goods" not in seen.body


@pytest.mark.parametrize(
    ("point", "client"),
    [*((point, "stock") for point in ("K6", "K7", "K8", "K9", "K11")), ("K6", "careful"), ("K9", "careful")],
)
def test_a_gateway_that_dies_owes_the_answer(
    point: str, client: str, single: Deployment, funded_account: FundedAccount
) -> None:
    """Restarted at once: the next request is already known to come from whom it left."""
    payer = funded_account()
    single.gateway.stop()
    single.gateway.start(TOLLWAY_CRASH=point)
    payment = single.sign(PATH, payer)
    with pytest.raises(OSError):
        answer = request(single.url + PATH, headers={**payment.headers, **KEY})
        if point == "K11":
            assert answer.status == 200
            raise ConnectionResetError
    single.gateway.wait()
    single.gateway.start()

    def ask() -> Answer:
        if client == "careful":
            return request(single.url + PATH, headers={**payment.headers, **KEY})
        return single.buy(PATH, payer)

    answer = until_settled(ask)

    assert answer.status == 200 and answer.headers["idempotent-replayed"] == "true"
    assert single.earned() == PRICE and single.upstream.count(PATH) == 1
    assert only_payment(single)["state"] == "settled"


@pytest.mark.parametrize("point", ["K0", "K1", "K3", "K4", "K5"])
def test_a_gateway_that_dies_earlier_owes_nothing(
    point: str, single: Deployment, funded_account: FundedAccount
) -> None:
    """The same authorization buys the answer at once: whoever held it is known to be gone."""
    payment = single.sign(PATH, funded_account())
    single.gateway.stop()
    single.gateway.start(TOLLWAY_CRASH=point)
    with pytest.raises(OSError):
        request(single.url + PATH, headers=payment.headers)
    single.gateway.wait()
    single.gateway.start()

    answer = request(single.url + PATH, headers=payment.headers)

    assert answer.status == 200 and single.earned() == PRICE
    assert single.upstream.count(PATH) == (2 if point in ("K4", "K5") else 1)


def test_half_an_answer_is_fetched_whole(
    single_with: Callable[..., Deployment], funded_account: FundedAccount
) -> None:
    shop = single_with(store={"url": "embedded", "max_answer": "32MiB"})
    goods = bytes(range(256)) * 4096 * 16
    shop.upstream.on(PATH, ok_bytes(goods))
    payer = funded_account()
    shop.gateway.stop()
    shop.gateway.start(TOLLWAY_CRASH="K10")
    with Dialogue(shop.url, receive_buffer=4096) as client:
        client.say(wire("GET", PATH, shop.sign(PATH, payer).headers))
        shop.gateway.wait()
    shop.gateway.start()

    answer = until_settled(lambda: shop.buy(PATH, payer))

    assert answer.body == goods and shop.earned() == PRICE and shop.upstream.count(PATH) == 1


def test_a_lost_answer_too_large_to_keep_is_asked_for_again(
    single_with: Callable[..., Deployment], funded_account: FundedAccount
) -> None:
    shop = single_with(store={"url": "embedded", "max_answer": "1KiB"})
    payer = funded_account()
    word = threading.Event()
    shop.upstream.on(PATH, held(word, ok_bytes(b"x" * 5000)))
    with Dialogue(shop.url) as client:
        client.say(wire("GET", PATH, shop.sign(PATH, payer).headers))
        shop.upstream.wait_for(1, PATH)
        client.hang_up()
    eventually(lambda: only_payment(shop)["left"])
    word.set()

    answer = until_settled(lambda: shop.buy(PATH, payer))

    assert answer.body == b"x" * 5000 and shop.earned() == PRICE and shop.upstream.count(PATH) == 2


def test_what_changes_something_is_not_asked_for_again(
    single_with: Callable[..., Deployment], funded_account: FundedAccount
) -> None:
    shop = single_with(store={"url": "embedded", "max_answer": "1KiB"})
    payer, word = funded_account(), threading.Event()
    shop.upstream.on(PATH, held(word, ok_bytes(b"x" * 5000)))
    payment = shop.sign(PATH, payer, method="POST")
    with Dialogue(shop.url) as client:
        client.say(wire("POST", PATH, {**payment.headers, "Content-Length": "0"}))
        shop.upstream.wait_for(1, PATH)
        client.hang_up()
    eventually(lambda: only_payment(shop)["left"])
    word.set()

    gone = until_settled(
        lambda: request(shop.url + PATH, "POST", shop.sign(PATH, payer, method="POST").headers)
    )

    assert (gone.status, gone.json()["code"]) == (410, "answer_gone") and gone.transaction
    assert shop.upstream.count(PATH) == 1


def test_one_payer_polls_one_url(single: Deployment, funded_account: FundedAccount) -> None:
    """All fifty clients wait: nobody's purchase is taken for another one's lost answer."""
    payer = funded_account()
    single.upstream.on(PATH, later(2.0))
    payments = [single.sign(PATH, payer) for _ in range(50)]
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda each: request(single.url + PATH, headers=each.headers), payments))
    assert {each.status for each in answers} == {200}
    assert len({each.json()["number"] for each in answers}) == 50
    assert single.earned() == 50 * PRICE


# Idempotency keys


@pytest.fixture
def bought(single: Deployment, funded_account: FundedAccount) -> tuple[Deployment, Any]:
    """A purchase with a key, delivered."""
    payer = funded_account()
    assert single.buy(PATH, payer).status == 200
    first = request(single.url + PATH, headers={**single.sign(PATH, payer).headers, **KEY})
    assert first.status == 200
    return single, payer


def test_the_key_with_a_fresh_signature_gets_the_same_answer(bought: tuple[Deployment, Any]) -> None:
    shop, payer = bought
    again = request(shop.url + PATH, headers={**shop.sign(PATH, payer).headers, **KEY})
    assert again.status == 200 and again.headers["idempotent-replayed"] == "true"
    assert again.json()["number"] == 2 and shop.earned() == 2 * PRICE


def test_the_key_for_another_request_is_409(bought: tuple[Deployment, Any]) -> None:
    shop, payer = bought
    other = PATH + "?other=1"
    answer = request(shop.url + other, headers={**shop.sign(other, payer).headers, **KEY})
    assert (answer.status, answer.json()["code"]) == (409, "idempotency_key_reused")
    assert shop.earned() == 2 * PRICE


def test_the_key_of_another_payer_means_nothing(
    bought: tuple[Deployment, Any], funded_account: FundedAccount
) -> None:
    shop, _ = bought
    answer = request(shop.url + PATH, headers={**shop.sign(PATH, funded_account()).headers, **KEY})
    assert answer.status == 200 and "idempotent-replayed" not in answer.headers
    assert shop.earned() == 3 * PRICE


def test_the_key_is_looked_at_only_after_the_signature(bought: tuple[Deployment, Any]) -> None:
    shop, payer = bought
    forged = shop.sign(PATH, payer)
    forged.signature = "0x" + "11" * 65
    answer = request(shop.url + PATH, headers={**forged.headers, **KEY})
    assert answer.status == 402


def test_the_payments_own_identifier_is_a_key(single: Deployment, funded_account: FundedAccount) -> None:
    payer = funded_account()
    declared = request(single.url + PATH).challenge["extensions"]["payment-identifier"]
    assert declared["info"] == {"required": False}

    def pay() -> Answer:
        payment = single.sign(PATH, payer)
        info = {**declared["info"], "id": "pay_0123456789abcdef"}
        payment.more["extensions"] = {"payment-identifier": {**declared, "info": info}}
        return request(single.url + PATH, headers=payment.headers)

    first, second = pay(), pay()

    assert first.status == second.status == 200 and first.body == second.body
    assert second.headers["idempotent-replayed"] == "true" and single.earned() == PRICE


def test_an_identifier_that_is_none_is_400(single: Deployment, funded_account: FundedAccount) -> None:
    payment = single.sign(PATH, funded_account())
    payment.more["extensions"] = {"payment-identifier": {"info": {"required": False, "id": "short"}}}
    answer = request(single.url + PATH, headers=payment.headers)
    assert (answer.status, answer.json()["code"]) == (400, "malformed_payment")

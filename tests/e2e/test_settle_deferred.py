"""``settle: deferred``: the answer goes out on trust, within caps; the money follows."""

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
from kit.ops import eventually, ledger, records
from kit.upstream_answers import chunked, die_in_mid_body, events, held, ok_json, status

FundedAccount = Callable[..., Any]
PATH = "/v1/now"
TWO = {"per_payer": "$0.02", "total": "$0.03"}


def routes(**exposure: Any) -> list[dict[str, Any]]:
    return [{"match": "* /v1/**", "price": "$0.01", "settle": "deferred", "timeout": "5s", **exposure}]


@pytest.fixture
def shop(anvil: Anvil, tmp_path: Path) -> Iterator[Deployment]:
    with deployed(anvil, tmp_path, routes=routes(), exposure=TWO) as deployment:
        yield deployment
        assert "Traceback" not in deployment.gateway.logs()


@pytest.fixture
def still(shop: Deployment) -> Iterator[Deployment]:
    """Its chain takes transactions and mines none until told to."""
    shop.anvil.rpc("evm_setAutomine", False)
    shop.anvil.rpc("evm_setIntervalMining", 0)
    try:
        yield shop
    finally:
        resume(shop)


def resume(shop: Deployment) -> None:
    shop.anvil.rpc("evm_setAutomine", True)
    shop.anvil.rpc("evm_setIntervalMining", 1)
    shop.anvil.rpc("evm_mine")


def payments(shop: Deployment) -> list[dict[str, Any]]:
    return ledger(shop.gateway)


def states(shop: Deployment) -> list[str]:
    return sorted(payment["state"] for payment in payments(shop))


def was_deferred(answer: Answer) -> bool:
    receipt = answer.receipt
    assert receipt is not None and receipt["success"]
    return bool(receipt.get("extra", {}).get("settlement") == "deferred")


def test_the_answer_does_not_wait_for_the_money(still: Deployment, funded_account: FundedAccount) -> None:
    still.upstream.on(PATH, ok_json({"a": 1}))
    answer = still.buy(PATH, funded_account())
    assert (answer.status, answer.json()) == (200, {"a": 1})
    receipt = answer.receipt
    assert receipt and receipt["success"] and receipt["transaction"] == ""
    assert receipt["extra"] == {"settlement": "deferred", "paymentId": payments(still)[0]["id"]}
    assert still.earned() == 0
    resume(still)
    eventually(lambda: still.earned() == PRICE)
    eventually(lambda: states(still) == ["settled"])


def test_above_its_cap_a_payer_waits_for_the_money(still: Deployment, funded_account: FundedAccount) -> None:
    payer = funded_account()
    assert [was_deferred(still.buy(PATH, payer)) for _ in range(2)] == [True, True]
    third: list[Answer] = []
    waiting = threading.Thread(target=lambda: third.append(still.buy(PATH, payer)))
    waiting.start()
    still.upstream.wait_for(3, PATH)
    assert not third
    resume(still)
    waiting.join()
    assert not was_deferred(third[0]) and third[0].transaction


def test_above_the_total_everybody_does(still: Deployment, funded_account: FundedAccount) -> None:
    # Funded first: that takes a block, and what is settled in it no longer counts.
    *three, payer = [funded_account() for _ in range(4)]
    assert all(was_deferred(still.buy(PATH, each)) for each in three)
    fourth: list[Answer] = []
    waiting = threading.Thread(target=lambda: fourth.append(still.buy(PATH, payer)))
    waiting.start()
    still.upstream.wait_for(4, PATH)
    resume(still)
    waiting.join()
    assert not was_deferred(fourth[0])


def test_what_is_settled_no_longer_counts(shop: Deployment, funded_account: FundedAccount) -> None:
    payer = funded_account()
    for _ in range(6):
        eventually(lambda: set(states(shop)) <= {"settled"})
        assert was_deferred(shop.buy(PATH, payer))


def test_who_drained_the_wallet_gets_no_trust_again(shop: Deployment, funded_account: FundedAccount) -> None:
    payer, word = funded_account(PRICE), threading.Event()
    shop.upstream.on(PATH, held(word, ok_json({"a": 1})), ok_json({"a": 1}))
    got: list[Answer] = []
    buying = threading.Thread(target=lambda: got.append(shop.buy(PATH, payer)))
    buying.start()
    shop.upstream.wait_for(1, PATH)
    drain(shop, payer.address)
    word.set()
    buying.join()
    assert was_deferred(got[0])
    eventually(lambda: states(shop) == ["refused"])
    assert records(shop.gateway, "loss")

    shop.anvil.mint(payer.address, 5 * PRICE)
    again = shop.buy(PATH, payer)

    assert again.status == 200 and not was_deferred(again)
    assert was_deferred(shop.buy(PATH, funded_account()))


def drain(shop: Deployment, payer: str) -> None:
    """All its tokens go elsewhere."""
    shop.anvil.rpc("anvil_impersonateAccount", payer)
    shop.anvil.rpc("anvil_setBalance", payer, hex(10**18))
    call = {"from": payer, "to": shop.anvil.token, "data": f"0xa9059cbb{17:064x}{PRICE:064x}"}
    transaction = shop.anvil.rpc("eth_sendTransaction", call)
    eventually(lambda: shop.anvil.rpc("eth_getTransactionReceipt", transaction))


def test_a_stream_comes_as_it_is_made_and_is_charged_once_whole(
    shop: Deployment, funded_account: FundedAccount
) -> None:
    shop.upstream.on(PATH, events("one", "two", "three", pause=0.4))
    with Dialogue(shop.url) as client:
        client.say(wire("GET", PATH, shop.sign(PATH, funded_account()).headers))
        client.until(b"data: one")
        assert states(shop) == ["reserved"]
        client.until(b"0\r\n\r\n")
    eventually(lambda: states(shop) == ["settled"])
    assert shop.earned() == PRICE


@pytest.mark.parametrize("failure", ["500", "broken"])
def test_a_failure_is_not_charged(failure: str, shop: Deployment, funded_account: FundedAccount) -> None:
    shop.upstream.on(PATH, status(500) if failure == "500" else die_in_mid_body())
    payment = shop.sign(PATH, funded_account())
    with Dialogue(shop.url) as client:
        client.say(wire("GET", PATH, payment.headers))
        client.until(b"\r\n\r\n")
    eventually(lambda: states(shop) == ["released"])
    shop.upstream.on(PATH, ok_json({"a": 1}))
    assert request(shop.url + PATH, headers=payment.headers).status == 200
    eventually(lambda: shop.earned() == PRICE)


def test_a_client_that_leaves_in_the_middle_pays_and_may_fetch_it(
    shop: Deployment, funded_account: FundedAccount
) -> None:
    payer, word = funded_account(), threading.Event()
    shop.upstream.on(PATH, held(word, chunked(b"all ", b"of ", b"it")))
    with Dialogue(shop.url) as client:
        client.say(wire("GET", PATH, shop.sign(PATH, payer).headers))
        shop.upstream.wait_for(1, PATH)
        client.hang_up()
    word.set()
    eventually(lambda: states(shop) == ["settled"])
    answer = shop.buy(PATH, payer)
    assert answer.body == b"all of it" and answer.headers["idempotent-replayed"] == "true"
    assert shop.earned() == PRICE and shop.upstream.count(PATH) == 1


def test_a_payment_without_cover_is_refused_all_the_same(
    shop: Deployment, funded_account: FundedAccount
) -> None:
    assert shop.buy(PATH, funded_account(PRICE // 2)).status == 402
    assert shop.upstream.count(PATH) == 0


def test_a_route_may_have_caps_of_its_own(
    single_with: Callable[..., Deployment], funded_account: FundedAccount
) -> None:
    shop = single_with(routes=routes(exposure={"per_payer": "$0.005", "total": "$1"}))
    assert not was_deferred(shop.buy(PATH, funded_account()))


@pytest.mark.parametrize(("settle", "point"), [("after", "K4"), ("deferred", "K3")])
def test_on_lost_answer_settle_pays_for_what_the_upstream_may_have_done(
    settle: str, point: str, single_with: Callable[..., Deployment], funded_account: FundedAccount
) -> None:
    route = {"match": "* /v1/**", "price": "$0.01", "settle": settle, "on_lost_answer": "settle"}
    shop = single_with(routes=[route])
    payer = funded_account()
    payment = shop.sign(PATH, payer)
    shop.gateway.stop()
    shop.gateway.start(TOLLWAY_CRASH=point)
    with pytest.raises(OSError):
        request(shop.url + PATH, headers=payment.headers)
    shop.gateway.wait()
    shop.gateway.start()
    eventually(lambda: states(shop) == ["settled"])
    assert shop.earned() == PRICE
    fetched = shop.buy(PATH, payer)
    assert fetched.status == 200 and shop.earned() == PRICE

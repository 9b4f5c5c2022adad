"""The chain's node fails before, during and after a purchase: money is asked for once."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from kit.answers import Answer, request
from kit.anvil import Anvil
from kit.deployment import PRICE, Deployment, deployed
from kit.dialogue import Dialogue
from kit.dialogue import request as wire
from kit.ops import assert_problem, eventually, ledger, metric, records, tracebacks
from kit.upstream_answers import held, ok_json

FundedAccount = Callable[..., Any]
KEY = {"Idempotency-Key": "mine"}


def brisk(rpc: str, **more: Any) -> dict[str, Any]:
    """A chain whose settlements are given two seconds."""
    localdev = {"chain_id": 84532, "v1_name": "base-sepolia", "rpc": rpc, "settle_within": "2s"}
    return {"networks": {"localdev": localdev}, **more}


@pytest.fixture
def shop(anvil: Anvil, tmp_path: Path) -> Iterator[Deployment]:
    """A gateway that soon says that it does not know."""
    with deployed(anvil, tmp_path, **brisk(anvil.url)) as deployment:
        try:
            yield deployment
        finally:
            anvil.resume()
    assert not tracebacks(deployment.gateway.logs())


def test_a_paused_node_refuses_the_purchase_and_leaves_the_payment_good(
    shop: Deployment, funded_account: FundedAccount
) -> None:
    payment = shop.sign("/v1/x", funded_account())
    shop.anvil.pause()

    refused = request(shop.url + "/v1/x", headers=payment.headers)

    assert_problem(refused, 503, "verification_unavailable")
    assert "retry-after" in refused.headers and refused.receipt is None
    assert shop.upstream.count() == 0 and ledger(shop.gateway) == []
    assert request(shop.url + "/v1/x").status == 402
    assert request(shop.url + "/free/x").status == 200
    shop.anvil.resume()
    assert request(shop.url + "/v1/x", headers=payment.headers).status == 200
    assert shop.earned() == PRICE and metric(shop.gateway, "tollway_verify_seconds_count") == 2


def test_a_node_that_is_not_there(anvil: Anvil, tmp_path: Path, funded_account: FundedAccount) -> None:
    with deployed(anvil, tmp_path, **brisk("http://127.0.0.1:9")) as shop:
        payment = shop.sign("/v1/x", funded_account())
        for _ in range(2):
            refused = request(shop.url + "/v1/x", headers=payment.headers)
            assert_problem(refused, 503, "verification_unavailable")
        assert shop.upstream.count() == 0 and ledger(shop.gateway) == []
        down = eventually(lambda: strictly(shop, 503))
        assert down.json()["dependencies"]["eip155:84532"] == "down"
        assert metric(shop.gateway, "tollway_facilitator_up", url="eip155:84532") == 0
        assert not tracebacks(shop.gateway.logs())


def strictly(shop: Deployment, status: int) -> Answer | None:
    answer = request(shop.gateway.admin + "/readyz?strict=1")
    return answer if answer.status == status else None


@contextmanager
def buying(shop: Deployment, headers: dict[str, str]) -> Iterator[list[Answer]]:
    """A purchase whose answer the upstream holds back while the body of this context runs."""
    word = threading.Event()
    shop.upstream.on("/v1/x", held(word, ok_json({"sun": True})))
    got: list[Answer] = []
    url = shop.url + "/v1/x"
    asking = threading.Thread(target=lambda: got.append(request(url, headers=headers, timeout=60)))
    asking.start()
    shop.upstream.wait_for(1, "/v1/x")
    try:
        yield got
    finally:
        word.set()
        asking.join()


def assert_pending(answer: Answer) -> None:
    """Not a challenge: a client that pays again would pay twice."""
    assert_problem(answer, 503, "settlement_pending")
    assert "retry-after" in answer.headers and "payment-required" not in answer.headers
    assert answer.receipt is not None
    assert (answer.receipt["success"], answer.receipt["errorReason"]) == (False, "settlement_pending")
    assert answer.receipt["network"] == "eip155:84532" and answer.receipt["transaction"] == ""


def test_a_node_lost_before_settling_delays_the_answer_and_loses_nothing(
    shop: Deployment, funded_account: FundedAccount
) -> None:
    mine = {**shop.sign("/v1/x", funded_account()).headers, **KEY}
    with buying(shop, mine) as got:
        shop.anvil.pause()
    assert_pending(got[0])
    again = request(shop.url + "/v1/x", headers=mine)
    assert (again.status, again.json()["code"]) in {
        (409, "payment_in_progress"),
        (503, "settlement_pending"),
    }
    assert request(shop.url + "/free/x").status == 200

    shop.anvil.resume()
    eventually(lambda: shop.earned() == PRICE)
    fetched = eventually(lambda: bought(shop, mine))
    assert fetched.json() == {"sun": True} and fetched.headers["idempotent-replayed"] == "true"
    assert fetched.receipt is not None and fetched.receipt["success"] is True
    mined = shop.anvil.rpc("eth_getTransactionReceipt", fetched.transaction)
    assert mined["status"] == "0x1"
    assert (shop.upstream.count("/v1/x"), shop.earned()) == (1, PRICE)
    assert metric(shop.gateway, "tollway_replays_total") == 1


def bought(shop: Deployment, headers: dict[str, str]) -> Answer | None:
    """The answer once it is there; until then nothing that asks for money."""
    answer = request(shop.url + "/v1/x", headers=headers)
    assert answer.status in (200, 409, 503)
    return answer if answer.status == 200 else None


def test_a_payer_who_moves_the_money_away_gets_no_answer_however_often_it_asks(
    shop: Deployment, funded_account: FundedAccount
) -> None:
    payer = funded_account(PRICE)
    mine = {**shop.sign("/v1/x", payer).headers, **KEY}
    with buying(shop, mine) as got:
        drain(shop, payer.address)
    again = [request(shop.url + "/v1/x", headers=each) for each in (mine, mine, {**mine, **KEY})]
    for refused in (*got, *again):
        assert refused.status == 402 and b"sun" not in refused.body
        assert refused.json()["code"] == "insufficient_funds"
        assert refused.receipt is not None and refused.receipt["success"] is False
        assert refused.receipt["errorReason"] == "insufficient_funds"
        assert refused.challenge["accepts"]
    assert (shop.upstream.count("/v1/x"), shop.earned()) == (1, 0)
    refusals = metric(shop.gateway, "tollway_payments_total", state="refused", route="* /v1/**")
    assert refusals == 1


def drain(shop: Deployment, payer: str) -> None:
    """All its tokens go elsewhere."""
    shop.anvil.rpc("anvil_impersonateAccount", payer)
    shop.anvil.rpc("anvil_setBalance", payer, hex(10**18))
    call = {"from": payer, "to": shop.anvil.token, "data": f"0xa9059cbb{17:064x}{PRICE:064x}"}
    transaction = shop.anvil.rpc("eth_sendTransaction", call)
    eventually(lambda: shop.anvil.rpc("eth_getTransactionReceipt", transaction))
    assert shop.anvil.balance(payer) == 0


def test_a_settlement_goes_on_after_the_client_hung_up(
    shop: Deployment, funded_account: FundedAccount
) -> None:
    mine = {**shop.sign("/v1/x", funded_account()).headers, **KEY}
    word = threading.Event()
    shop.upstream.on("/v1/x", held(word, ok_json({"sun": True})))
    with pytest.raises(TimeoutError):
        request(shop.url + "/v1/x", headers=mine, timeout=0.5)
    word.set()
    eventually(lambda: shop.earned() == PRICE)
    assert eventually(lambda: bought(shop, mine)).json() == {"sun": True}
    assert shop.upstream.count("/v1/x") == 1


@pytest.mark.parametrize("moment", ["served", "broadcast"])
def test_a_killed_gateway_settles_after_its_restart(
    moment: str, shop: Deployment, funded_account: FundedAccount
) -> None:
    """kill -9 after the answer was recorded: before, and after, its transaction went out."""
    mine = {**shop.sign("/v1/x", funded_account()).headers, **KEY}
    shop.anvil.rpc("evm_setIntervalMining", 0)
    shop.anvil.rpc("evm_setAutomine", False)
    try:
        with buying_and_killed(shop, mine, moment):
            pass
    finally:
        shop.anvil.resume()
        shop.anvil.rpc("evm_setAutomine", True)
        shop.anvil.rpc("evm_setIntervalMining", 1)
    assert shop.earned() in (0, PRICE)

    shop.gateway.start()
    eventually(lambda: shop.earned() == PRICE)
    assert eventually(lambda: bought(shop, mine)).json() == {"sun": True}
    assert [each["state"] for each in ledger(shop.gateway)] == ["settled"]
    assert transfers(shop) == 1 and shop.upstream.count("/v1/x") == 1


@contextmanager
def buying_and_killed(shop: Deployment, headers: dict[str, str], moment: str) -> Iterator[None]:
    word = threading.Event()
    shop.upstream.on("/v1/x", held(word, ok_json({"sun": True})))
    asking = threading.Thread(target=lost, args=(shop.url + "/v1/x", headers))
    asking.start()
    shop.upstream.wait_for(1, "/v1/x")
    if moment == "served":
        shop.anvil.pause()
    word.set()
    if moment == "served":
        eventually(lambda: ledger(shop.gateway)[0]["state"] in ("served", "settling"))
    else:
        eventually(lambda: int(shop.anvil.rpc("txpool_status")["pending"], 16) == 1)
    shop.gateway.kill()
    asking.join()
    yield


def lost(url: str, headers: dict[str, str]) -> None:
    with pytest.raises(OSError):
        request(url, headers=headers)


def transfers(shop: Deployment) -> int:
    """How often the payee was paid."""
    topic = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
    payee = "0x" + shop.pay_to[2:].lower().rjust(64, "0")
    query = {"fromBlock": "earliest", "toBlock": "latest", "topics": [topic, None, payee]}
    return len(shop.anvil.rpc("eth_getLogs", query))


# Gas, and money without a record


def test_a_signer_without_gas_takes_no_work(shop: Deployment, funded_account: FundedAccount) -> None:
    """503 before the upstream is asked; it goes on by itself when gas arrives."""
    payment = shop.sign("/v1/x", funded_account())
    shop.gateway.stop()
    shop.anvil.rpc("anvil_setBalance", shop.sender.address, hex(10**9))
    shop.gateway.start()
    quoted = eventually(lambda: _of_status(request(shop.url + "/v1/x"), 503))
    assert quoted.json()["code"] == "settlement_unavailable" and quoted.headers["retry-after"]
    paid = request(shop.url + "/v1/x", headers=payment.headers)
    assert paid.status == 503 and shop.upstream.count("/v1/x") == 0

    shop.anvil.rpc("anvil_setBalance", shop.sender.address, hex(10**19))

    bought_at_last = eventually(lambda: _of_status(request(shop.url + "/v1/x", headers=payment.headers), 200))
    assert bought_at_last.transaction and shop.upstream.count("/v1/x") == 1


def _of_status(answer: Answer, status: int) -> Answer | None:
    return answer if answer.status == status else None


def test_money_without_a_record_is_told_to_the_operator(
    shop: Deployment, funded_account: FundedAccount, tmp_path: Path
) -> None:
    """An authorization that already paid us is shown to a store that knows nothing of it."""
    payment = shop.sign("/v1/x", funded_account())
    assert request(shop.url + "/v1/x", headers=payment.headers).status == 200
    shop.gateway.stop()
    shutil.rmtree(shop.gateway.folder / "data")
    shop.gateway.start()

    refused = request(shop.url + "/v1/x", headers=payment.headers)

    assert refused.status == 402
    assert refused.json()["code"] == "invalid_exact_evm_nonce_already_used"
    (orphan,) = eventually(lambda: records(shop.gateway, "orphan"))
    assert orphan["tx"] and shop.upstream.count("/v1/x") == 1
    request(shop.url + "/v1/x", headers=payment.headers)
    assert len(records(shop.gateway, "orphan")) == 1


def test_nobody_pays_for_a_client_that_left_before_work_began(
    shop: Deployment, funded_account: FundedAccount
) -> None:
    """It may come back with another signature at once: this one is let go of."""
    payment = shop.sign("/v1/x", funded_account())
    shop.anvil.pause()
    with Dialogue(shop.url) as client:
        client.say(wire("GET", "/v1/x", payment.headers))
        eventually(lambda: ledger(shop.gateway))
        client.hang_up()
    eventually(lambda: ledger(shop.gateway)[0]["left"])
    shop.anvil.resume()
    eventually(lambda: not ledger(shop.gateway))
    assert shop.upstream.count("/v1/x") == 0
    assert request(shop.url + "/v1/x", headers=payment.headers).status == 200

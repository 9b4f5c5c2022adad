"""Facilitators that are slow, broken or lying, behind the whole gateway: every row of the corpus, each with
the money counted after it. Nobody pays twice, nothing is served unpaid, and what is not known is ended by
what the chain shows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kit.answers import Answer, request
from kit.anvil import Anvil
from kit.deployment import PRICE, Deployment
from kit.ops import assert_problem, eventually, ledger
from kit.payments import SignedPayment
from kit.remotely import deployed_remotely
from standins.facilitator import (
    HTML,
    HUGE,
    Behaviour,
    Exchange,
    FacilitatorServer,
    done_then,
    drip,
    hang,
    honest,
    redirect,
    reset,
    say,
    twisted,
)

FundedAccount = Callable[..., Any]
KEY = {"Idempotency-Key": "mine-and-nobody-elses"}
STRAY = "0x" + "ab" * 32
CENTS = {"* /v1/**": {}, "* /first/**": {"settle": "before"}}
ROUTES = [{"match": match, "price": "$0.01", **more} for match, more in CENTS.items()]
HASTY = {"settle_within": "3s"}


@pytest.fixture(scope="module")
def _there(anvil: Anvil) -> Iterator[FacilitatorServer]:
    with FacilitatorServer(anvil.url) as server:
        yield server


@pytest.fixture(scope="module")
def _shop(
    anvil: Anvil, _there: FacilitatorServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    """It believes nothing that the chain does not show."""
    said = {"verify_on_chain_over": "$0.001", "timeout": "300ms"}
    folder = tmp_path_factory.mktemp("gateway")
    with deployed_remotely(anvil, folder, _there.url, said=said, routes=ROUTES, own=HASTY) as deployment:
        yield deployment


@pytest.fixture
def there(_there: FacilitatorServer) -> FacilitatorServer:
    """Honest, and with an empty book of visitors."""
    _there.on("/settle", honest)
    _there.on("/verify", honest)
    _there.received.clear()
    return _there


@pytest.fixture
def shop(_shop: Deployment, there: FacilitatorServer) -> Iterator[Deployment]:
    """The money is audited after each test, once the facilitator is honest again."""
    _shop.upstream.forget()
    earned, recorded = _shop.earned(), settled(_shop)
    yield _shop
    eventually(lambda: not any(each["state"] in ("settling", "unknown") for each in ledger(_shop.gateway)))
    assert _shop.earned() - earned == settled(_shop) - recorded
    assert "Traceback" not in _shop.gateway.logs()


def settled(shop: Deployment) -> int:
    """What the ledger says that came in."""
    return sum(
        int(each["amount"]) for each in ledger(shop.gateway, "?limit=500") if each["state"] == "settled"
    )


def failed(reason: str, transaction: str = "", **more: Any) -> dict[str, Any]:
    return {"success": False, "errorReason": reason, "transaction": transaction, **more}


def succeeded(transaction: str, **more: Any) -> dict[str, Any]:
    return {"success": True, "transaction": transaction, "network": "eip155:84532", **more}


def send(shop: Deployment, path: str, payment: SignedPayment) -> Answer:
    return request(shop.url + path, headers={**payment.headers, **KEY})


SETTLED: dict[str, Behaviour] = {
    "hangs": done_then(hang),
    "drips": done_then(drip),
    "resets": done_then(reset),
    "500": done_then(say({"error": "internal"}, 500)),
    "429": done_then(say({"error": "slow down"}, 429)),
    "malformed JSON": done_then(say(b'{"success": tru')),
    "HTML": done_then(HTML),
    "an empty body": done_then(say(b"")),
    "10 MiB": done_then(HUGE),
    "redirects": done_then(redirect),
    "says no": done_then(say(failed("insufficient_funds"))),
    "says used": done_then(say(failed("invalid_exact_evm_nonce_already_used"))),
    "says duplicate": done_then(say(failed("duplicate_settlement"))),
    "says pending": twisted(success=False, errorReason="settlement_pending"),
    "another payer": twisted(payer="0x" + "11" * 20),
    "another network": twisted(network="eip155:8453"),
    "another transaction": twisted(transaction=STRAY),
    "no transaction": twisted(transaction=""),
}
NOT_SETTLED: dict[str, Behaviour] = {
    "resets": reset,
    "429": say({"error": "slow down"}, 429),
    "malformed JSON": say(b'{"success": tru'),
    "HTML": HTML,
    "an empty body": say(b""),
    "10 MiB": HUGE,
    "redirects": redirect,
    "its own fault": say(failed("unexpected_settle_error")),
    "no, with a hash": say(failed("insufficient_funds", STRAY)),
    "pending for ever": say(failed("settlement_pending", STRAY)),
    "duplicate": say(failed("duplicate_settlement")),
}


@pytest.mark.parametrize("behaviour", SETTLED.values(), ids=SETTLED)
def test_what_was_settled_is_delivered_whatever_is_said(
    behaviour: Behaviour, shop: Deployment, there: FacilitatorServer, funded_account: FundedAccount
) -> None:
    there.on("/settle", behaviour)
    before = shop.earned()
    answer = send(shop, "/v1/a", shop.sign("/v1/a", funded_account()))
    assert answer.status == 200, answer.body
    assert shop.anvil.rpc("eth_getTransactionReceipt", answer.transaction)["status"] == "0x1"
    assert shop.earned() - before == PRICE
    assert shop.upstream.count("/v1/a") == 1
    assert len(set(there.bodies("/settle"))) == 1


@pytest.mark.parametrize("behaviour", NOT_SETTLED.values(), ids=NOT_SETTLED)
def test_what_was_not_settled_goes_there_again_as_it_was(
    behaviour: Behaviour, shop: Deployment, there: FacilitatorServer, funded_account: FundedAccount
) -> None:
    there.on("/settle", behaviour, honest)
    before = shop.earned()
    answer = send(shop, "/v1/b", shop.sign("/v1/b", funded_account()))
    assert answer.status == 200, answer.body
    assert shop.anvil.rpc("eth_getTransactionReceipt", answer.transaction)["status"] == "0x1"
    assert shop.earned() - before == PRICE
    assert shop.upstream.count("/v1/b") == 1
    assert there.count("/settle") == 2 and len(set(there.bodies("/settle"))) == 1


async def claims_anothers(exchange: Exchange) -> Any:
    """A success, with a transaction that did bring us as much, for another payment."""
    payer = exchange.received.document["paymentPayload"]["payload"]["authorization"]["from"]
    return await say(succeeded(PAID_BEFORE[-1], payer=payer))(exchange)


PAID_BEFORE = [STRAY]
FOR_LONG = {"a lie, money first": ("/first/c", claims_anothers, 0), "hangs": ("/v1/c", hang, 1)}


@pytest.mark.parametrize(("path", "behaviour", "worked"), FOR_LONG.values(), ids=FOR_LONG)
def test_what_nobody_proves_is_not_served_nor_asked_for_again(
    path: str,
    behaviour: Behaviour,
    worked: int,
    shop: Deployment,
    there: FacilitatorServer,
    funded_account: FundedAccount,
) -> None:
    """503 and no challenge, also for a new signature; settled at last, the one answer is handed out."""
    PAID_BEFORE.append(shop.buy("/v1/other", funded_account()).transaction)
    there.received.clear()
    there.on("/settle", behaviour)
    before, payer = shop.earned(), funded_account()
    payment = shop.sign(path, payer)
    for again in (payment, payment, shop.sign(path, payer)):
        answer = send(shop, path, again)
        assert_problem(answer, 503, "settlement_pending")
        assert "payment-required" not in answer.headers and "retry-after" in answer.headers
    assert (shop.earned(), shop.upstream.count(path)) == (before, worked)

    there.on("/settle", honest)
    answer = fetched(shop, path, payment)
    assert answer.transaction not in PAID_BEFORE
    assert shop.anvil.rpc("eth_getTransactionReceipt", answer.transaction)["status"] == "0x1"
    assert shop.earned() - before == PRICE
    assert shop.upstream.count(path) == 1
    assert len(set(there.bodies("/settle"))) == 1


def fetched(shop: Deployment, path: str, payment: SignedPayment) -> Answer:
    """Asked for again with the same payment until it is there: an unknown outcome is looked at anew when
    its lease is over."""
    until = time.monotonic() + 20
    while (answer := send(shop, path, payment)).status != 200:
        assert time.monotonic() < until, answer.body
        time.sleep(0.5)
    return answer


def test_a_refusal_that_is_true(
    shop: Deployment, there: FacilitatorServer, funded_account: FundedAccount
) -> None:
    """facilitator-08: in the specification's words, without a transaction, the authorization unused."""
    there.on("/settle", say(failed("insufficient_funds")))
    answer = send(shop, "/v1/e", shop.sign("/v1/e", funded_account()))
    assert answer.status == 402 and answer.challenge["error"] == "insufficient_funds"
    assert answer.receipt and answer.receipt["success"] is False and answer.receipt["transaction"] == ""
    assert ledger(shop.gateway)[0]["state"] == "refused"
    assert there.count("/settle") == 1


def test_a_refusal_after_an_answer_was_lost(
    shop: Deployment, there: FacilitatorServer, funded_account: FundedAccount
) -> None:
    """It says no when asked again, because it has settled: the chain is believed."""
    payment = shop.sign("/v1/e", funded_account())

    there.on("/settle", reset, done_then(say(failed("insufficient_funds"))))
    assert send(shop, "/v1/e", payment).status == 200
    assert shop.upstream.count("/v1/e") == 1


UNVERIFIED: dict[str, Behaviour] = {
    "hangs": hang,
    "resets": reset,
    "429": say({"error": "slow down"}, 429),
    "HTML": HTML,
    "malformed JSON": say(b"{"),
    "an empty body": say(b""),
    "10 MiB": HUGE,
    "redirects": redirect,
    "another payer": say({"isValid": True, "payer": "0x" + "11" * 20}),
    "its own fault": say({"isValid": False, "invalidReason": "unexpected_verify_error"}),
    "true and 500": say({"isValid": True}, 500),
}


@pytest.mark.parametrize("behaviour", UNVERIFIED.values(), ids=UNVERIFIED)
def test_no_verdict_is_neither_yes_nor_no(
    behaviour: Behaviour, shop: Deployment, there: FacilitatorServer, funded_account: FundedAccount
) -> None:
    """facilitator-18: verification flaps. Nothing is worked on; the same payment is good afterwards."""
    there.on("/verify", behaviour)
    payment = shop.sign("/v1/f", funded_account())
    answer = send(shop, "/v1/f", payment)
    assert answer.status == 503 and "payment-required" not in answer.headers
    assert (shop.upstream.count("/v1/f"), there.count("/settle")) == (0, 0)
    there.on("/verify", honest)
    assert send(shop, "/v1/f", payment).status == 200
    assert shop.upstream.count("/v1/f") == 1

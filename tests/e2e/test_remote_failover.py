"""Several facilitators, some of them down: who is asked, who never is, and what clients see meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kit.accounts import new_account
from kit.answers import request
from kit.anvil import Anvil
from kit.deployment import PRICE, Deployment
from kit.ops import assert_problem, eventually, ledger, metric, records
from kit.remotely import deployed_remotely
from standins.facilitator import FacilitatorServer, done_then, hang, honest, reset, say

FundedAccount = Callable[..., Any]
KEY = {"Idempotency-Key": "mine-and-nobody-elses"}
SAID = {"timeout": "300ms"}


@pytest.fixture
def first(anvil: Anvil) -> Iterator[FacilitatorServer]:
    with FacilitatorServer(anvil.url) as there:
        yield there


@pytest.fixture
def second(anvil: Anvil) -> Iterator[FacilitatorServer]:
    with FacilitatorServer(anvil.url) as there:
        yield there


@pytest.fixture
def shop(
    anvil: Anvil, first: FacilitatorServer, second: FacilitatorServer, tmp_path: Path
) -> Iterator[Deployment]:
    own = {"settle_within": "2s"}
    with deployed_remotely(anvil, tmp_path, first.url, second.url, said=SAID, own=own) as deployment:
        yield deployment
        assert "Traceback" not in deployment.gateway.logs()


def test_verification_goes_on_to_the_next_and_so_does_what_was_never_sent(
    shop: Deployment, first: FacilitatorServer, second: FacilitatorServer, funded_account: FundedAccount
) -> None:
    assert shop.buy("/v1/a", funded_account()).status == 200
    assert (first.count("/settle"), second.count("/verify")) == (1, 0)

    first.on("/verify", hang)
    assert shop.buy("/v1/a", funded_account()).status == 200
    assert (first.count("/settle"), second.count("/verify"), second.count("/settle")) == (2, 1, 0)

    first.down()
    assert shop.buy("/v1/a", funded_account()).status == 200
    assert (second.count("/verify"), second.count("/settle")) == (2, 1)
    assert (shop.earned(), shop.upstream.count()) == (3 * PRICE, 3)


def test_what_was_sent_once_is_never_sent_elsewhere(
    shop: Deployment, first: FacilitatorServer, second: FacilitatorServer, funded_account: FundedAccount
) -> None:
    """Also not after a crash, and with the second one well; only its own facilitator ends it."""
    first.on("/settle", reset)
    payment = shop.sign("/v1/b", funded_account())
    answer = request(shop.url + "/v1/b", headers={**payment.headers, **KEY})
    assert_problem(answer, 503, "settlement_pending")
    first.down()
    shop.gateway.kill()
    shop.gateway.start()
    assert shop.buy("/v1/other", funded_account()).status == 200, "others are served meanwhile"
    assert second.count("/settle") == 1
    assert ledger(shop.gateway)[1]["state"] in ("unknown", "settling")
    first.on("/settle", honest)
    first.up()
    eventually(lambda: [each["state"] for each in ledger(shop.gateway)] == ["settled"] * 2, 40)
    assert request(shop.url + "/v1/b", headers={**payment.headers, **KEY}).status == 200
    assert second.count("/settle") == 1
    assert (shop.earned(), shop.upstream.count("/v1/b")) == (2 * PRICE, 1)


def hangs(*facilitators: FacilitatorServer) -> None:
    for there in facilitators:
        there.on("/verify", hang)
        there.on("/supported", hang)


def downs(*facilitators: FacilitatorServer) -> None:
    for there in facilitators:
        there.down()


@pytest.mark.parametrize("fail", [hangs, downs])
def test_with_all_of_them_down(
    fail: Callable[..., None],
    shop: Deployment,
    first: FacilitatorServer,
    second: FacilitatorServer,
    funded_account: FundedAccount,
) -> None:
    """Paid routes are 503 at once, and ask nobody; free ones are fine; and it all comes back by itself."""
    payment = shop.sign("/v1/c", funded_account())
    fail(first, second)
    for _ in range(5):
        assert request(shop.url + "/v1/c", headers=payment.headers).status == 503
    asked, began = second.count("/verify"), time.monotonic()
    for _ in range(50):
        answer = request(shop.url + "/v1/c", headers=payment.headers)
        assert_problem(answer, 503, "verification_unavailable")
        assert "retry-after" in answer.headers
    took = time.monotonic() - began
    assert took < 2, "50 refusals, where one patience with both of them is 0.6 s"
    assert second.count("/verify") == asked
    assert_problem(request(shop.url + "/v1/c"), 503, "settlement_unavailable")
    assert request(shop.url + "/free/c").status == 200
    for there in (first, second):
        eventually(lambda there=there: metric(shop.gateway, "tollway_facilitator_up", url=there.url) == 0)
    assert {each["url"] for each in records(shop.gateway, "facilitator")} == {first.url, second.url}
    assert shop.upstream.count("/v1/c") == 0

    second.on("/verify", honest)
    second.on("/supported")
    if fail is downs:
        second.up()
    until = time.monotonic() + 12
    while request(shop.url + "/v1/c", headers=payment.headers).status != 200:
        assert time.monotonic() < until
        time.sleep(0.25)
    assert (shop.earned(), shop.upstream.count("/v1/c")) == (PRICE, 1)
    eventually(lambda: metric(shop.gateway, "tollway_facilitator_up", url=second.url) == 1)


def test_a_start_does_not_wait_for_a_facilitator_that_hangs(
    anvil: Anvil, first: FacilitatorServer, tmp_path: Path, funded_account: FundedAccount
) -> None:
    first.on("/supported", hang)
    began = time.monotonic()
    with deployed_remotely(anvil, tmp_path, first.url) as shop:
        assert time.monotonic() - began < 10
        assert any("reason" in each for each in records(shop.gateway, "facilitator"))
        assert shop.buy("/v1/e", funded_account()).status == 200


def test_hybrid_gives_the_last_word_to_the_chain(
    anvil: Anvil, first: FacilitatorServer, tmp_path: Path, funded_account: FundedAccount
) -> None:
    """Refused here is refused, whatever a facilitator would say; what it settled is settled, likewise."""
    first.on("/verify", say({"isValid": True}))
    first.on("/settle", done_then(say({"success": False, "errorReason": "insufficient_funds"})))
    with deployed_remotely(anvil, tmp_path, first.url, mode="hybrid") as shop:
        poor = shop.sign("/v1/d", new_account())
        answer = request(shop.url + "/v1/d", headers=poor.headers)
        assert (answer.status, answer.challenge["error"]) == (402, "insufficient_funds")
        assert shop.buy("/v1/d", funded_account()).status == 200
        assert (first.count("/verify"), first.count("/settle")) == (0, 1)
        assert (shop.earned(), shop.upstream.count("/v1/d")) == (PRICE, 1)
        anvil.pause()
        try:
            answer = request(shop.url + "/v1/d", headers=poor.headers)
        finally:
            anvil.resume()
        assert answer.status == 503, "without the chain there is no verdict, and nobody else gives one"

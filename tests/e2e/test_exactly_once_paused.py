"""SIGSTOP beyond the lease, then SIGCONT: a process that slept has no second effect."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from kit.answers import Answer, request
from kit.deployment import PRICE, Deployment
from kit.dialogue import Dialogue
from kit.dialogue import request as wire
from kit.gateway import Gateway
from kit.ops import eventually, ledger
from kit.upstream_answers import events, ok_json

from gateway.leases import LEASE

FundedAccount = Callable[..., Any]
PATH = "/v1/x"
KEY = {"Idempotency-Key": "mine"}


@pytest.mark.parametrize("point", ["K2", "K5", "K6"])
def test_a_request_that_slept(
    point: str, pair: tuple[Deployment, Gateway], funded_account: FundedAccount
) -> None:
    shop, second = pair
    shop.gateway.stop()
    shop.gateway.start(TOLLWAY_CRASH=f"{point}:1:STOP")
    headers = {**shop.sign(PATH, funded_account()).headers, **KEY}
    first: list[Answer] = []
    asking = threading.Thread(
        target=lambda: first.append(request(shop.url + PATH, headers=headers, timeout=60))
    )
    asking.start()
    eventually(shop.gateway.stopped)

    def elsewhere() -> Answer | None:
        answer = request(second.url + PATH, headers=headers)
        return None if answer.status in (409, 503) else answer

    answer = eventually(elsewhere, patience=40)
    shop.gateway.resume()
    asking.join()

    assert answer.status == 200
    eventually(lambda: [each["state"] for each in ledger(second)] == ["settled"])
    assert shop.earned() == PRICE
    assert first[0].status in (200, 409)
    if first[0].status == 200:
        assert first[0].body == answer.body
    again = {"K5": 2}.get(point, 1)
    assert shop.upstream.count(PATH) == again, "released by its death, so the retry asked once more"


def test_an_answer_that_slept(single_with: Callable[..., Deployment], funded_account: FundedAccount) -> None:
    """Who was answered in part has not paid: the rest is not given away, and the payment stays good."""
    shop = single_with(routes=[{"match": "* /v1/**", "price": "$0.01", "settle": "deferred"}])
    shop.upstream.on(PATH, events("one", "two", "three", pause=2.0), ok_json({"a": 1}))
    headers = shop.sign(PATH, funded_account()).headers
    with Dialogue(shop.url) as client:
        client.say(wire("GET", PATH, headers))
        client.until(b"data: one\n\n\r\n")
        shop.gateway.pause()
        time.sleep(LEASE + 0.5)
        shop.gateway.resume()
        assert client.closed()
    assert shop.earned() == 0

    answer = eventually(lambda: _ok(request(shop.url + PATH, headers=headers)))

    assert answer.json() == {"a": 1}
    eventually(lambda: [each["state"] for each in ledger(shop.gateway)] == ["settled"])
    assert shop.earned() == PRICE


def _ok(answer: Answer) -> Answer | None:
    return answer if answer.status == 200 else None

"""An upstream that does not deliver is not paid for, and the same payment then buys a good answer."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from typing import Any

import pytest
from kit.answers import request
from kit.deployment import PRICE, Deployment
from kit.upstream import Behaviour
from kit.upstream_answers import die_in_mid_body, gzipped, hang, ok_json, reset, status

FundedAccount = Callable[..., Any]

FAULTS: dict[str, tuple[Behaviour, int, str | None]] = {
    "404": (status(404), 404, None),
    "500": (status(500), 500, None),
    "dies in mid body": (die_in_mid_body(), 502, "upstream_invalid"),
    "resets": (reset(), 502, "upstream_invalid"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_costs_nothing_and_the_payment_stays_good(
    fault: str, anywhere: Deployment, funded_account: FundedAccount
) -> None:
    behaviour, expected, code = FAULTS[fault]
    path = "/v1/" + fault.replace(" ", "-")
    anywhere.upstream.on(path, behaviour, ok_json({"sun": True}))
    earned = anywhere.earned()
    payment = anywhere.sign(path, funded_account())

    first = request(anywhere.url + path, headers=payment.headers)
    assert first.status == expected and first.receipt is None
    assert code is None or first.json()["code"] == code
    assert anywhere.earned() == earned

    second = request(anywhere.url + path, headers=payment.headers)
    assert (second.status, second.json()) == (200, {"sun": True})
    assert anywhere.earned() - earned == PRICE
    assert anywhere.upstream.count(path) == 2


def test_an_upstream_that_hangs_is_504_and_costs_nothing(
    single_with: Callable[..., Any], funded_account: FundedAccount
) -> None:
    routes = [{"match": "GET /v1/**", "price": "$0.01", "timeout": "500ms"}]
    deployment = single_with(routes=routes)
    deployment.upstream.on("/v1/slow", hang(), ok_json({"sun": True}))
    payment = deployment.sign("/v1/slow", funded_account())

    first = request(deployment.url + "/v1/slow", headers=payment.headers)
    assert (first.status, first.json()["code"]) == (504, "upstream_timeout")
    assert request(deployment.url + "/v1/slow", headers=payment.headers).status == 200
    assert deployment.earned() == PRICE


def test_an_upstream_that_is_not_there_is_502(
    single_with: Callable[..., Any], funded_account: FundedAccount
) -> None:
    deployment = single_with(upstreams={"api": {"url": "http://127.0.0.1:9"}})
    refused = deployment.buy("/v1/x", funded_account())
    assert (refused.status, refused.json()["code"]) == (502, "upstream_unreachable")
    assert deployment.earned() == 0


def test_gzip_arrives_untouched(anywhere: Deployment, funded_account: FundedAccount) -> None:
    text = b'{"weather": "' + b"sun " * 1000 + b'"}'
    anywhere.upstream.on("/v1/packed", gzipped(text))
    bought = anywhere.buy("/v1/packed", funded_account())
    assert bought.headers["content-encoding"] == "gzip"
    assert bought.body == gzip.compress(text, mtime=0)


def test_attempts_are_bounded(single: Deployment, funded_account: FundedAccount) -> None:
    """One authorization may be tried on failing answers five times, not for ever."""
    single.upstream.on("/v1/broken", status(500))
    payment = single.sign("/v1/broken", funded_account())
    answers = [request(single.url + "/v1/broken", headers=payment.headers) for _ in range(6)]
    assert [each.status for each in answers] == [500] * 5 + [402]
    assert answers[-1].json()["code"] == "attempts_exhausted"
    assert single.upstream.count("/v1/broken") == 5

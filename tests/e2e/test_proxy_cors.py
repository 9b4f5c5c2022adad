"""Browsers: preflights, what answers expose, and what shared caches may not keep."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kit.answers import Answer, request
from kit.anvil import Anvil
from kit.deployment import Deployment, deployed
from kit.dialogue import Dialogue
from kit.upstream_answers import ok_bytes

FundedAccount = Callable[..., Any]
LISTED, OTHER = "https://shop.example", "https://evil.example"
ALLOWED = [
    "PAYMENT-SIGNATURE",
    "X-PAYMENT",
    "X-Tollway-Connection",
    "X-Provider-Session",
    "Idempotency-Key",
    "Content-Type",
    "Authorization",
    "Access-Control-Expose-Headers",
]
EXPOSED = [
    "PAYMENT-REQUIRED",
    "PAYMENT-RESPONSE",
    "X-PAYMENT-RESPONSE",
    "Idempotent-Replayed",
    "Retry-After",
    "X-Request-Id",
]
UPSTREAMS_OWN = (
    ("Access-Control-Allow-Origin", "https://upstream.example"),
    ("Access-Control-Expose-Headers", "X-Theirs"),
    ("Access-Control-Allow-Credentials", "true"),
)


@pytest.fixture(scope="module")
def everyone(anvil: Anvil, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with deployed(anvil, tmp_path_factory.mktemp("gateway")) as deployment:
        yield deployment


@pytest.fixture(scope="module")
def listed(anvil: Anvil, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    server = {"cors": {"origins": [LISTED]}}
    with deployed(anvil, tmp_path_factory.mktemp("gateway"), server=server) as deployment:
        yield deployment


def preflight(
    deployment: Deployment, path: str, origin: str = OTHER, wants: str = "x-custom, payment-signature"
) -> Answer:
    headers = {"Origin": origin, "Access-Control-Request-Method": "PUT"}
    if wants:
        headers["Access-Control-Request-Headers"] = wants
    return request(deployment.url + path, "OPTIONS", headers)


def names(value: str) -> list[str]:
    return [name.strip() for name in value.split(",")]


def test_a_preflight_of_a_priced_route(everyone: Deployment) -> None:
    everyone.upstream.forget()
    answer = preflight(everyone, "/v1/x")
    assert (answer.status, answer.body) == (204, b"") and everyone.upstream.count() == 0
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "PUT" in names(answer.headers["access-control-allow-methods"])
    assert int(answer.headers["access-control-max-age"]) > 0
    allowed = names(answer.headers["access-control-allow-headers"])
    assert "x-custom" in allowed and set(ALLOWED) <= set(allowed)
    assert "access-control-allow-credentials" not in answer.headers


def test_a_preflight_that_asks_for_no_headers(everyone: Deployment) -> None:
    assert names(preflight(everyone, "/v1/x", wants="").headers["access-control-allow-headers"]) == ALLOWED


@pytest.mark.parametrize("wants", ["x\x01y", "caf\xe9", "a, b,, c", "x" * 5000])
def test_an_odd_preflight_breaks_nothing(wants: str, everyone: Deployment) -> None:
    with Dialogue(everyone.url) as client:
        client.ask("OPTIONS", "/v1/x", Origin=OTHER, Access_Control_Request_Headers=wants)
        assert client.whole().status in (204, 400)
    assert "Traceback" not in everyone.gateway.logs()


def test_options_is_never_charged(everyone: Deployment, funded_account: FundedAccount) -> None:
    earned = everyone.earned()
    payment = everyone.sign("/v1/x", funded_account()).headers
    assert request(everyone.url + "/v1/x", "OPTIONS", payment).status == 204
    assert request(everyone.url + "/v1/x", "OPTIONS").status == 204
    assert everyone.earned() == earned


@pytest.mark.parametrize("path", ["/v1/x", "/v1/missing"])
def test_our_own_answers_are_readable(path: str, everyone: Deployment) -> None:
    for headers in ({}, {"PAYMENT-SIGNATURE": "garbage"}):
        answer = request(everyone.url + path, headers={"Origin": OTHER, **headers})
        assert answer.status in (400, 402)
        assert answer.headers["access-control-allow-origin"] == "*"
        assert names(answer.headers["access-control-expose-headers"]) == EXPOSED


def test_a_paid_answer_is_readable(everyone: Deployment, funded_account: FundedAccount) -> None:
    """Ours replace the upstream's: two Allow-Origin would be none."""
    everyone.upstream.on("/v1/cors", ok_bytes(b"ok", headers=UPSTREAMS_OWN))
    answer = everyone.buy("/v1/cors", funded_account())
    assert answer.headers["access-control-allow-origin"] == "*"
    assert names(answer.headers["access-control-expose-headers"])[: len(EXPOSED)] == EXPOSED
    assert "access-control-allow-credentials" not in answer.headers


def test_a_free_routes_cors_is_the_upstreams(everyone: Deployment) -> None:
    everyone.upstream.on("/free/cors", ok_bytes(b"ok", headers=UPSTREAMS_OWN))
    for method in ("GET", "OPTIONS"):
        answer = request(
            everyone.url + "/free/cors", method, {"Origin": OTHER, "Access-Control-Request-Method": "GET"}
        )
        assert {(name, answer.headers[name.lower()]) for name, _ in UPSTREAMS_OWN} == set(UPSTREAMS_OWN)
    assert everyone.upstream.last("/free/cors").method == "OPTIONS"
    everyone.upstream.on("/free/cors", ok_bytes(b"ok"))
    assert (
        "access-control-allow-origin"
        not in request(everyone.url + "/free/cors", headers={"Origin": OTHER}).headers
    )


def test_only_listed_origins(listed: Deployment, funded_account: FundedAccount) -> None:
    for path, method in (("/v1/x", "OPTIONS"), ("/v1/x", "GET")):
        ours = request(listed.url + path, method, {"Origin": LISTED, "Access-Control-Request-Method": "GET"})
        assert ours.headers["access-control-allow-origin"] == LISTED and "Origin" in names(
            ours.headers["vary"]
        )
        for origin in (OTHER, "null", LISTED + ".evil.example", LISTED.upper()):
            theirs = request(
                listed.url + path, method, {"Origin": origin, "Access-Control-Request-Method": "GET"}
            )
            assert "access-control-allow-origin" not in theirs.headers
    listed.upstream.on("/v1/cors", ok_bytes(b"ok", headers=UPSTREAMS_OWN))
    payment = listed.sign("/v1/cors", funded_account()).headers
    paid = request(listed.url + "/v1/cors", headers={**payment, "Origin": OTHER})
    assert paid.status == 200 and "access-control-allow-origin" not in paid.headers


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("public, max-age=60", {"private", "max-age=60"}),
        ("s-maxage=600", {"private"}),
        ("PUBLIC, S-MaxAge=5, no-transform", {"private", "no-transform"}),
        ("no-store", {"private", "no-store"}),
        ('private="X-A, X-B", max-age=1', {"private", "max-age=1"}),
        (None, {"private"}),
    ],
)
def test_a_paid_answer_is_for_its_buyer_only(
    given: str | None, kept: set[str], everyone: Deployment, funded_account: FundedAccount
) -> None:
    theirs = (("Cache-Control", given),) if given else ()
    more = (
        ("CDN-Cache-Control", "max-age=600"),
        ("Surrogate-Control", "max-age=600"),
        ("Vary", "Accept"),
        ("Age", "5"),
    )
    everyone.upstream.on("/v1/cache", ok_bytes(b"ok", headers=(*theirs, *more)))
    answer = everyone.buy("/v1/cache", funded_account())
    assert set(names(answer.headers["cache-control"])) == kept
    assert "cdn-cache-control" not in answer.headers and "surrogate-control" not in answer.headers
    assert {"Accept", "PAYMENT-SIGNATURE", "X-PAYMENT"} <= set(names(answer.headers["vary"]))


def test_a_402_is_not_kept(everyone: Deployment) -> None:
    assert request(everyone.url + "/v1/x").headers["cache-control"] == "no-store"

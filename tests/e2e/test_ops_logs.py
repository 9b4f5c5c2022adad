"""What a running gateway tells: one line per request, the named metrics, and never a secret."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kit.answers import Answer, request
from kit.anvil import Anvil
from kit.deployment import PRICE, Deployment, deployed
from kit.ops import PROBLEM_MEMBERS, eventually, ledger, metric, records, tracebacks
from kit.raw import connect, converse
from kit.upstream_answers import status
from prometheus_client.parser import text_string_to_metric_families

FundedAccount = Callable[..., Any]
ALWAYS = {"ts", "level", "event", "request_id", "method", "status", "duration_ms"}
ROUTED = ALWAYS | {"route", "path"}
PAID = {"payment_id", "rail", "network", "asset", "amount", "payer", "state"}


def line_of(shop: Deployment, answer: Answer) -> dict[str, Any]:
    """The one line this request left."""
    wanted = answer.headers["x-request-id"]
    lines = [line for line in records(shop.gateway, "request") if line["request_id"] == wanted]
    assert len(lines) == 1
    return lines[0]


def test_a_purchase_leaves_one_line(single: Deployment, funded_account: FundedAccount) -> None:
    payer = funded_account()
    payment = single.sign("/v1/x?city=here", payer)
    bought = request(single.url + "/v1/x?city=here", headers=payment.headers)

    told = line_of(single, bought)

    assert set(told) == ROUTED | PAID | {"upstream_ms", "tx"}
    assert (told["route"], told["method"], told["path"], told["status"]) == ("* /v1/**", "GET", "/v1/x", 200)
    assert (told["rail"], told["network"], told["amount"]) == ("x402", "eip155:84532", str(PRICE))
    assert (told["payer"], told["asset"]) == (payer.address.lower(), single.anvil.token.lower())
    assert (told["state"], told["tx"]) == ("settled", bought.transaction)
    assert told["payment_id"] == ledger(single.gateway)[0]["id"]
    assert 0 < told["upstream_ms"] < told["duration_ms"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", told["ts"]) and told["level"] == "info"


def test_other_requests_leave_what_is_known_of_them(
    single: Deployment, funded_account: FundedAccount
) -> None:
    single.upstream.on("/v1/broken", status(500))
    free = request(single.url + "/free/x?a=b")
    asked = request(single.url + "/v1/x?a=b")
    lost = request(single.url + "/nowhere?a=b")
    poor = single.buy("/v1/x", funded_account(5))
    broken = single.buy("/v1/broken", funded_account())
    assert free.status == 200
    assert set(line_of(single, asked)) == ROUTED | {"reason"}
    assert line_of(single, asked)["reason"] == "payment_required"
    assert set(line_of(single, lost)) == (ROUTED - {"route"}) | {"reason"}
    assert line_of(single, poor)["reason"] == "insufficient_funds"
    lines = {line["path"]: line for line in records(single.gateway, "request")}
    assert set(lines["/free/x"]) >= ROUTED and lines["/free/x"]["path"] == "/free/x"
    assert (lines["/v1/broken"]["status"], lines["/v1/broken"]["state"]) == (500, "released")
    assert broken.status == 500
    assert "a=b" not in single.gateway.logs()


BAD: dict[str, tuple[bytes, int]] = {
    "no HTTP": (b"hello\r\n\r\n", 400),
    "dots": (b"GET /v1/../x HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    "no host": (b"GET /v1/x HTTP/1.1\r\n\r\n", 400),
    "nowhere": (b"GET /nowhere HTTP/1.1\r\nHost: h\r\n\r\n", 404),
    "trace": (b"TRACE /v1/x HTTP/1.1\r\nHost: h\r\n\r\n", 405),
    "coding": (b"POST /v1/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
    "junk": (b"GET /v1/x HTTP/1.1\r\nHost: h\r\nPAYMENT-SIGNATURE: junk\r\n\r\n", 400),
    "huge": (b"GET /v1/x HTTP/1.1\r\nHost: h\r\nA: " + b"a" * 70_000 + b"\r\n\r\n", 431),
    "too long": (b"POST /v1/x HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999\r\n\r\n", 402),
    "expectation": (b"GET /v1/x HTTP/1.1\r\nHost: h\r\nExpect: miracles\r\n\r\n", 417),
}


@pytest.mark.parametrize("case", BAD)
def test_every_error_of_ours_is_a_problem_and_in_the_log(case: str, single: Deployment) -> None:
    data, expected = BAD[case]
    replies, _ = converse(single.url, data)
    assert [each.status for each in replies] == [expected]
    reply = replies[0]
    if expected != 402:
        assert reply.headers["content-type"] == "application/problem+json"
        told = Answer(reply.status, reply.headers, reply.body).json()
        assert set(told) == PROBLEM_MEMBERS and told["status"] == expected
        assert told["request_id"] == reply.headers["x-request-id"]
    line = line_of(single, Answer(reply.status, reply.headers, reply.body))
    assert line["status"] == expected and line["reason"]
    assert not tracebacks(single.gateway.logs())


@pytest.mark.parametrize(
    "garbage", [b"\xff\x00\r\n\r\n", b"GET / HTTP/9\r\n\r\n", b"GET /%zz HTTP/1.1\r\n\r\n"]
)
def test_garbage_on_the_admin_listener_is_no_traceback(garbage: bytes, single: Deployment) -> None:
    with connect(single.gateway.admin) as client:
        client.sendall(garbage)
        assert b" 400 " in client.recv(65536)
    assert request(single.gateway.admin + "/livez").status == 200
    assert not tracebacks(single.gateway.logs())


METRICS = {
    "tollway_requests_total": {"route", "method", "status"},
    "tollway_request_seconds_count": {"route"},
    "tollway_upstream_seconds_count": {"upstream"},
    "tollway_challenges_total": {"route"},
    "tollway_payments_total": {"route", "rail", "state"},
    "tollway_refusals_total": {"route", "reason"},
    "tollway_verify_seconds_count": {"rail"},
    "tollway_settle_seconds_count": {"rail"},
    "tollway_settlements_pending": set(),
    "tollway_revenue_atomic_total": {"route", "network", "asset"},
    "tollway_replays_total": set(),
    "tollway_store_up": set(),
    "tollway_facilitator_up": {"url"},
    "tollway_signer_balance_wei": {"network"},
    "tollway_reloads_total": {"result"},
    "tollway_build_info": {"version"},
}


@pytest.fixture(params=[1, 2], ids=["one worker", "two workers"])
def shop(request: pytest.FixtureRequest, anvil: Anvil, tmp_path: Path) -> Iterator[Deployment]:
    """With its admin listener in front of one or two workers."""
    with deployed(anvil, tmp_path, server={"workers": request.param}) as deployment:
        yield deployment


def test_metrics_count_what_happened_over_all_workers(
    shop: Deployment, funded_account: FundedAccount
) -> None:
    url, gateway = shop.url, shop.gateway
    mine = {**shop.sign("/v1/x", funded_account()).headers, "Idempotency-Key": "k"}
    bought = [request(url + "/v1/x", headers=mine)] + [shop.buy("/v1/x", funded_account()) for _ in range(5)]
    assert [each.status for each in bought] == [200] * 6
    assert request(url + "/v1/x", headers=mine).headers["idempotent-replayed"] == "true"
    assert [request(url + "/free/x", method).status for method in ("GET", "GET", "POST", "PROPFIND")] == [
        200
    ] * 4
    assert shop.buy("/v1/x", funded_account(5)).status == 402
    gateway.reload()
    eventually(lambda: len(records(gateway, "reload")))
    eventually(lambda: metric(gateway, "tollway_signer_balance_wei") > 0)

    page = request(gateway.admin + "/metrics")
    families = list(text_string_to_metric_families(page.body.decode()))
    samples = {sample.name: sample for family in families for sample in family.samples}

    assert page.headers["content-type"].startswith("text/plain; version=0.0.4")
    for name, labels in METRICS.items():
        assert set(samples[name].labels) == labels, name
    paid = {"route": "* /v1/**", "rail": "x402"}
    assert metric(gateway, "tollway_requests_total", route="* /v1/**", method="GET", status="200") == 7
    assert metric(gateway, "tollway_requests_total", route="* /free/**", method="GET", status="200") == 2
    assert metric(gateway, "tollway_requests_total", route="* /free/**", method="other") == 1
    assert metric(gateway, "tollway_challenges_total", route="* /v1/**") == 7
    assert metric(gateway, "tollway_payments_total", **paid, state="settled") == 6
    assert metric(gateway, "tollway_refusals_total", reason="insufficient_funds") == 1
    assert metric(gateway, "tollway_revenue_atomic_total", network="eip155:84532") == 6 * PRICE
    assert metric(gateway, "tollway_replays_total") == 1
    assert metric(gateway, "tollway_settle_seconds_count") == 6
    assert metric(gateway, "tollway_verify_seconds_count") == 7
    assert metric(gateway, "tollway_upstream_seconds_count", upstream="api") >= 6
    assert metric(gateway, "tollway_settlements_pending") == 0
    assert metric(gateway, "tollway_store_up") == 1 and metric(gateway, "tollway_build_info") == 1
    assert metric(gateway, "tollway_facilitator_up", url="eip155:84532") == 1
    assert 0 < metric(gateway, "tollway_signer_balance_wei", network="eip155:84532") <= 10**19
    assert "0x" + shop.pay_to[2:].lower() not in page.body.decode().lower()


def test_the_ledger_of_a_running_gateway(shop: Deployment, funded_account: FundedAccount) -> None:
    bought = [shop.buy("/v1/x", funded_account()) for _ in range(3)]
    newest = ledger(shop.gateway, "?limit=1&state=settled")[0]
    assert newest["transaction"] == bought[-1].transaction and newest["route"] == "* /v1/**"
    told = request(f"{shop.gateway.admin}/payments/{newest['id']}").json()
    states = [each["state"] for each in told["transitions"]]
    assert states == ["reserved", "served", "settling", "settled"]
    times = [each["at_ms"] for each in told["transitions"]]
    assert times == sorted(times) and abs(times[0] / 1000 - time.time()) < 60

"""Answers that are held until they are paid: bounds, memory, and clients that do not wait."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from kit.answers import request
from kit.anvil import Anvil
from kit.deployment import PRICE, Deployment, deployed
from kit.dialogue import Dialogue
from kit.dialogue import request as wire
from kit.process import resident
from kit.upstream import Behaviour
from kit.upstream_answers import chunked, endless, held, ok_bytes, raw, reset

# Memory and descriptors are counted: an executed gateway's.
pytestmark = pytest.mark.usefixtures("executed")

FundedAccount = Callable[..., Any]
KILOBYTE, MEGABYTE = 1 << 10, 1 << 20
SMALL = {"max_response_body": "64KiB", "max_buffered": "300KiB", "max_request_body": "200KiB"}


@pytest.fixture(scope="module")
def small(anvil: Anvil, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with deployed(anvil, tmp_path_factory.mktemp("gateway"), server=SMALL) as deployment:
        yield deployment
        assert "Traceback" not in deployment.gateway.logs()


@pytest.fixture(scope="module")
def roomy(anvil: Anvil, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    store = {"url": "embedded", "max_answer": "40MiB"}
    with deployed(anvil, tmp_path_factory.mktemp("gateway"), store=store) as deployment:
        yield deployment
        assert "Traceback" not in deployment.gateway.logs()


def test_an_answer_at_the_limit_is_sold(small: Deployment, funded_account: FundedAccount) -> None:
    small.upstream.on("/v1/full", ok_bytes(b"x" * 64 * KILOBYTE))
    assert small.buy("/v1/full", funded_account()).body == b"x" * 64 * KILOBYTE


TOO_LARGE: dict[str, Behaviour] = {
    "length": ok_bytes(b"x" * (64 * KILOBYTE + 1)),
    "chunked": chunked(*[b"x" * KILOBYTE] * 65),
    "endless": endless(),
    "until close": raw(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 70 * KILOBYTE),
}


@pytest.mark.parametrize("framing", TOO_LARGE)
def test_a_larger_one_is_502_and_costs_nothing(
    framing: str, small: Deployment, funded_account: FundedAccount
) -> None:
    path = f"/v1/{framing.replace(' ', '-')}"
    small.upstream.on(path, TOO_LARGE[framing], ok_bytes(b"fits"))
    earned, payment = small.earned(), small.sign(path, funded_account()).headers
    refused = request(small.url + path, headers=payment)
    assert (refused.status, refused.json()["code"]) == (502, "answer_too_large")
    assert refused.receipt is None and small.earned() == earned
    assert request(small.url + path, headers=payment).body == b"fits", "and the payment stays good"


def test_above_the_bound_is_busy_and_then_it_is_given_back(
    small: Deployment, funded_account: FundedAccount
) -> None:
    word = threading.Event()
    body = b"x" * 150 * KILOBYTE
    path = "/v1/crowd"
    small.upstream.on(path, held(word))
    payments = [small.sign(path, funded_account(), method="POST").headers for _ in range(3)]
    with ThreadPoolExecutor(2) as pool:
        first = [pool.submit(request, small.url + path, "POST", each, body) for each in payments[:1]]
        small.upstream.wait_for(1, path)
        busy = request(small.url + path, "POST", payments[1], b"y" * 180 * KILOBYTE)
        assert (busy.status, busy.json()["code"]) == (503, "busy") and "retry-after" in busy.headers
        assert request(small.url + "/free/x").status == 200, "free routes hold nothing"
        word.set()
        assert [each.result().status for each in first] == [200]
    assert request(small.url + path, "POST", payments[1], b"y" * 180 * KILOBYTE).status == 200


ERRORS: list[tuple[Behaviour, bytes, int]] = [
    (endless(), b"x" * 150 * KILOBYTE, 502),
    (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n" + b"x" * 60 * KILOBYTE), b"", 502),
    (ok_bytes(b"x" * 60 * KILOBYTE, status=500), b"x" * 150 * KILOBYTE, 500),
]


def test_errors_give_everything_back(small: Deployment, funded_account: FundedAccount) -> None:
    """Three times over what may be held, one after the other."""
    path = "/v1/errors"
    payer = funded_account()
    for behaviour, body, status in ERRORS * 4:
        small.upstream.on(path, behaviour)
        payment = small.sign(path, payer, method="POST").headers
        assert request(small.url + path, "POST", payment, body).status == status
    for _ in range(4):
        payment = small.sign(path, payer, method="POST").headers
        with Dialogue(small.url) as client:
            client.say(wire("POST", path, payment, b"x" * 150 * KILOBYTE)[:-1]).hang_up()
    small.upstream.on(path, ok_bytes(b"x" * 64 * KILOBYTE))
    payment = small.sign(path, payer, method="POST").headers
    assert request(small.url + path, "POST", payment, b"x" * 200 * KILOBYTE).status == 200


@pytest.mark.parametrize("leaves", ["closes", "resets"])
def test_a_client_that_leaves_has_bought_its_answer(
    leaves: str, roomy: Deployment, funded_account: FundedAccount
) -> None:
    word = threading.Event()
    path = f"/v1/left-{leaves}"
    roomy.upstream.on(path, held(word, ok_bytes(b"the goods")))
    earned = roomy.earned()
    headers = {**roomy.sign(path, funded_account()).headers, "Idempotency-Key": "mine"}
    client = Dialogue(roomy.url).say(wire("GET", path, headers))
    roomy.upstream.wait_for(1, path)
    client.socket.close() if leaves == "closes" else client.hang_up()
    word.set()
    fetched = fetched_again(roomy, path, headers)
    assert fetched.body == b"the goods" and fetched.headers["idempotent-replayed"] == "true"
    assert roomy.upstream.count(path) == 1 and roomy.earned() - earned == PRICE


def fetched_again(deployment: Deployment, path: str, headers: dict[str, str]) -> Any:
    """Asks until the payment is settled."""
    for _ in range(100):
        answer = request(deployment.url + path, headers=headers)
        if answer.status not in (409, 503):
            return answer
        threading.Event().wait(0.1)
    raise AssertionError(answer)


def test_a_client_that_never_reads_holds_up_nobody(roomy: Deployment, funded_account: FundedAccount) -> None:
    path = "/v1/unread"
    roomy.upstream.on(path, ok_bytes(b"x" * 8 * MEGABYTE))
    headers = {**roomy.sign(path, funded_account()).headers, "Idempotency-Key": "mine"}
    earned = roomy.earned()
    with Dialogue(roomy.url, receive_buffer=4096) as client:
        client.say(wire("GET", path, headers))
        roomy.upstream.wait_for(1, path)
        fetched = fetched_again(roomy, path, headers)
        assert fetched.body == b"x" * 8 * MEGABYTE and roomy.earned() - earned == PRICE
        assert roomy.buy("/v1/other", funded_account()).status == 200


def test_a_slow_client_gets_all_of_a_large_answer(roomy: Deployment, funded_account: FundedAccount) -> None:
    path, body = "/v1/large", bytes(range(256)) * 4 * 20 * KILOBYTE
    roomy.upstream.on(path, ok_bytes(body))
    payment = roomy.sign(path, funded_account()).headers
    with Dialogue(roomy.url, receive_buffer=65536) as client:
        client.say(wire("GET", path, payment))
        client.until(b"\r\n\r\n")
        received = b""
        for size in [KILOBYTE] * 5:
            received += client.exactly(size)
            threading.Event().wait(0.1)
        assert received + client.exactly(len(body) - len(received)) == body


def not_sold(roomy: Deployment, path: str, payer: Any) -> None:
    roomy.upstream.on(path, ok_bytes(b"x" * 20 * MEGABYTE, status=500))
    assert request(roomy.url + path, headers=roomy.sign(path, payer).headers).status == 500


def broken(roomy: Deployment, path: str, payer: Any) -> None:
    roomy.upstream.on(
        path, reset(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n" + b"x" * 20 * MEGABYTE)
    )
    assert request(roomy.url + path, headers=roomy.sign(path, payer).headers).status == 502


def unread(roomy: Deployment, path: str, payer: Any) -> None:
    roomy.upstream.on(path, ok_bytes(b"x" * 20 * MEGABYTE, status=500))
    with Dialogue(roomy.url, receive_buffer=4096) as client:
        client.say(wire("GET", path, roomy.sign(path, payer).headers)).until(b"\r\n\r\n")
        client.hang_up()


def cut_off(roomy: Deployment, path: str, payer: Any) -> None:
    payment = roomy.sign(path, payer, method="POST").headers
    with Dialogue(roomy.url) as client:
        client.say(wire("POST", path, {**payment, "Content-Length": "9999999"}) + b"x" * 9_000_000)
        client.silent(0.1)
        client.hang_up()


@pytest.mark.parametrize("once", [not_sold, broken, unread, cut_off])
def test_memory_is_given_back(
    once: Callable[[Deployment, str, Any], None], roomy: Deployment, funded_account: FundedAccount
) -> None:
    """Not kept until the collector next looks for cycles: tens of megabytes hang on each.

    The allocator may keep some for itself while it warms up; what leaks grows in every round.
    """
    payer = funded_account()
    grown: list[int] = []
    for _ in range(3):
        before = resident(roomy.gateway.pid)
        for _ in range(8):
            once(roomy, "/v1/again", payer)
        grown.append(resident(roomy.gateway.pid) - before)
    assert min(grown) < 50 * MEGABYTE

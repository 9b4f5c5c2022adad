"""The stand-in as a process: what its control surface does, and what of the wire the SDK never sends."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from aiohttp.test_utils import make_mocked_request

from gateway.devconxa.control import only_from_here
from gateway.devconxa.replies import Declined

ACME, RIVAL = "pk_test_acme_x", "pk_test_rival_x"
COMMAND = (sys.executable, "-m", "gateway.devconxa")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    child = subprocess.Popen(
        [*COMMAND, "--port", "0", "--api-key", ACME, "--api-key", RIVAL], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    said = child.stdout.readline()
    ready = re.fullmatch(r"CONXA stand-in listening on (http://127\.0\.0\.1:\d+)\n", said)
    assert ready is not None, said
    yield ready[1]
    child.send_signal(signal.SIGTERM)
    assert child.wait(10) == 0
    assert child.stdout.read() == ""
    child.stdout.close()


def call(url: str, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, dict[str, Any]]:
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = Request(url + path, data, named, method=method)
    try:
        with urlopen(request, timeout=5) as answer:
            return answer.status, json.load(answer)
    except HTTPError as refused:
        with refused:
            return refused.code, json.load(refused)


def qr(username: str, provider: str = "acme") -> str:
    return json.dumps({"provider_id": provider, "provider_type": "web", "provider_username": username})


def connect(url: str, username: str, tokens: int = 100) -> tuple[str, str]:
    """A new wallet's id and a session's token."""
    status, wallet = call(url, "POST", "/_standin/wallets", {"tokens": tokens})
    assert status == 200
    asked = {"qr_data": qr(username), "wallet_id": wallet["wallet_id"], "session_seconds": 60}
    status, session = call(url, "POST", "/_standin/scan", asked)
    assert (status, session["provider_username"], session["limit"]) == (200, username, None)
    return wallet["wallet_id"], session["session_token"]


def charge(url: str, token: str, body: Any = None, **headers: str) -> tuple[int, dict[str, Any]]:
    order = {"model_name": "m", "input_tokens": 3, "output_tokens": 4} if body is None else body
    sent = {"X_Provider_API_Key": ACME, "X_Provider_Session": token} | headers
    return call(url, "POST", "/charge/authorize", order, **sent)


def test_a_journey_over_http_alone(url: str) -> None:
    wallet, token = connect(url, "ann")
    assert charge(url, token, X_Idempotency_Key="journey")[1] == {
        "approved": True,
        "new_balance": 93,
        "error_code": None,
    }
    assert call(url, "GET", f"/wallet/{wallet}") == (200, {"wallet_id": wallet, "tokens": 93})
    assert call(url, "POST", f"/_standin/wallets/{wallet}", {"tokens": -3})[1]["tokens"] == 90
    charges = call(url, "GET", "/_standin/charges")[1]["charges"]
    [mine] = [each for each in charges if each["key"] == "journey"]
    assert (mine["username"], mine["cost"], mine["balance"], mine["wallet"]) == ("ann", 7, 93, wallet)
    assert mine["session"] == token
    calls = call(url, "GET", "/_standin/calls")[1]
    assert calls["endpoints"]["charge"]["answers"]["200"] >= 1
    [body] = calls["keys"]["journey"]
    assert json.loads(body) == {"model_name": "m", "input_tokens": 3, "output_tokens": 4}


def test_a_charge_without_a_key_is_made_each_time_as_for_older_sdks(url: str) -> None:
    _, token = connect(url, "old")
    assert [charge(url, token)[1]["new_balance"] for _ in range(2)] == [93, 86]
    assert charge(url, token, X_Idempotency_Key="")[0] == 422


def test_keys_and_sessions_of_another_provider_are_worth_nothing(url: str) -> None:
    _, token = connect(url, "bob")
    for key, session in (
        (RIVAL, token),
        (ACME, "ps_made_up"),
        (ACME, ""),
        ("", token),
        ("pk_test_acme_y", token),
    ):
        status, said = charge(url, session, X_Provider_API_Key=key)
        assert (status, said["status"]) == (401, "error")
    status, _ = call(url, "GET", "/providers/session/status?provider_username=bob", X_Provider_API_Key=RIVAL)
    assert status == 404


def test_actions_befall_the_session_of_any_username(url: str) -> None:
    _, token = connect(url, "a/b c")
    for action, status in (("revoke", 403), ("expire", 401), ("restore", 200), ("pend", 401)):
        assert call(url, "POST", "/_standin/sessions/a%2Fb%20c", {"action": action})[0] == 200
        assert charge(url, token)[0] == status
    assert call(url, "POST", "/_standin/sessions/nobody", {"action": "expire"})[0] == 404


def test_faults_are_added_and_cleared(url: str) -> None:
    limit = {"on": "health", "kind": "rate_limit", "count": 2, "retry_after": 3}
    assert call(url, "POST", "/_standin/faults", [limit]) == (200, {"added": 1})
    assert call(url, "GET", "/health")[0] == 429
    assert call(url, "DELETE", "/_standin/faults") == (200, {})
    assert call(url, "GET", "/health") == (200, {"status": "ok"})
    status, said = call(url, "POST", "/_standin/faults", [limit, {"on": "health", "kind": "explode"}])
    assert (status, said["errors"][0]["loc"]) == (422, ["body", 1, "kind"])
    assert call(url, "GET", "/health")[0] == 200


def test_options_are_changed_one_by_one(url: str) -> None:
    before = call(url, "POST", "/_standin/options", {})[1]
    changed = call(url, "POST", "/_standin/options", {"prices": {"m": [2, 3]}, "before_scan": "pending"})[1]
    assert changed == before | {"prices": {"m": [2, 3]}, "before_scan": "pending"}
    _, token = connect(url, "dear")
    assert charge(url, token)[1]["new_balance"] == 82
    assert call(url, "POST", "/_standin/options", before)[1] == before
    assert call(url, "POST", "/_standin/options", {"cap_status": 500})[0] == 422


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/nothing", None, 404),
        ("GET", "/charge/authorize", None, 405),
        ("GET", "/providers/session/status", None, 422),
        ("POST", "/charge/authorize", b"\xff", 422),
        ("POST", "/charge/authorize", b" " * (2 << 20), 413),
        ("POST", "/_standin/wallets", {"tokens": "1"}, 422),
        ("POST", "/_standin/wallets", {"tokens": 1, "id": "12"}, 422),
        ("POST", "/_standin/scan", {"qr_data": "{}", "wallet_id": "1"}, 422),
    ],
)
def test_whatever_is_wrong_is_told_in_the_envelope(
    url: str, method: str, path: str, body: Any, status: int
) -> None:
    answered, said = call(url, method, path, body, X_Provider_API_Key=ACME, X_Provider_Session="ps_x")
    assert (answered, said["status"]) == (status, "error")
    assert said["message"]


@pytest.mark.parametrize(("remote", "allowed"), [("127.0.0.1", True), ("::1", True), ("192.0.2.1", False)])
def test_the_control_surface_is_for_this_machine(remote: str, allowed: bool) -> None:
    request = make_mocked_request("GET", "/_standin/calls").clone(remote=remote)
    if allowed:
        only_from_here(request)
    else:
        with pytest.raises(Declined, match="403"):
            only_from_here(request)


def test_a_key_that_names_no_provider_does_not_start() -> None:
    done = subprocess.run([*COMMAND, "--api-key", "secret"], capture_output=True, text=True, timeout=20)
    assert done.returncode == 2
    assert "pk_test_acme_x" in done.stderr

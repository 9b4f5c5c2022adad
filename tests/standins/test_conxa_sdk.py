"""The official SDK, unchanged, against the stand-in: every method and every error it can raise."""

from __future__ import annotations

import base64
import hashlib
import inspect
import io
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import distribution
from typing import Any

import conxa.client
import pytest
import zxingcpp
from conxa import (
    APIError,
    AuthenticationError,
    ChargeResult,
    ConnectionStatus,
    ConnectionTimeoutError,
    CONXAClient,
    CONXAError,
    ForbiddenError,
    InsufficientBalanceError,
    RateLimitError,
    SessionExpiredError,
    SessionNotFoundError,
    ValidationError,
)
from conxa.exceptions import IdempotencyConflictError
from PIL import Image
from standins.conxa import API_KEY, ConxaServer

ANN = "ann@example.com"


@pytest.fixture(scope="module")
def running() -> Iterator[ConxaServer]:
    with ConxaServer() as server:
        yield server


@pytest.fixture
def server(running: ConxaServer) -> Iterator[ConxaServer]:
    """One server for all: users and wallets are each test's own, switches are put back."""
    kept = running.options.model_copy()
    yield running
    running.clear_faults()
    with running.ledger() as ledger:
        ledger.options = kept


@pytest.fixture
def user(request: pytest.FixtureRequest) -> str:
    return f"{request.node.name}@example.com"


@pytest.fixture
def client(server: ConxaServer) -> Iterator[CONXAClient]:
    with CONXAClient(API_KEY, base_url=f"{server.url}/", timeout=5) as sdk:
        yield sdk


class FakeTime:
    """The SDK's clock: sleeping moves it on, and is noted."""

    def __init__(self) -> None:
        self.now = time.time()
        self.slept: list[float] = []

    def time(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeTime:
    fake = FakeTime()
    monkeypatch.setattr(conxa.client, "time", fake)
    return fake


def connect(server: ConxaServer, client: CONXAClient, user: str, tokens: int = 1_000, **more: Any) -> str:
    """Scans a code of the SDK's; the session token, as the SDK sees it."""
    server.scan(client.create_payment_qr(user, **more).qr_data, server.wallet(tokens))
    token = client.get_session_status(user).session_token
    assert token is not None
    return token


def charge(client: CONXAClient, token: str, key: str = "key", **more: Any) -> ChargeResult:
    order = {"model_name": "gpt-4", "input_tokens": 100, "output_tokens": 50} | more
    return client.charge(session_token=token, idempotency_key=f"{token}:{key}", **order)


def status_calls(server: ConxaServer) -> int:
    return server.calls()["endpoints"].get("status", {"calls": 0})["calls"]


def test_the_sdk_is_the_published_one() -> None:
    """Every module of it hashes to what its wheel says."""
    package = distribution("conxa-sdk")
    assert package.version == "1.3.4"
    modules = [file for file in package.files or () if file.suffix == ".py"]
    assert len(modules) == 5
    for module in modules:
        assert module.hash is not None
        digest = hashlib.new(module.hash.mode, module.read_binary()).digest()
        assert base64.urlsafe_b64encode(digest).decode().rstrip("=") == module.hash.value


# Construction.


@pytest.mark.parametrize(
    ("key", "provider"),
    [("pk_live_acme_9f", "acme"), ("pk_test_acme", "acme"), ("opaque", "opaque"), ("x" * 30, "x" * 20)],
)
def test_the_provider_is_the_third_part_of_the_key(key: str, provider: str) -> None:
    assert CONXAClient(key).provider_id == provider
    assert CONXAClient(key, provider_id=" else ").provider_id == "else"


def test_a_key_that_names_nobody_is_refused_unless_the_provider_is_given() -> None:
    with pytest.raises(ValueError, match="provider_id is required"):
        CONXAClient("pk_test__x")
    assert CONXAClient("pk_test__x", provider_id="acme").provider_id == "acme"
    with pytest.raises(AuthenticationError, match="API key is required"):
        CONXAClient("  ")


# Codes.


def test_a_code_holds_exactly_these_bytes_and_can_be_read(client: CONXAClient) -> None:
    code = client.create_payment_qr("ünn@example.com ", limit=50000, size=400, expires_in=60)
    assert code.qr_data == (
        '{"provider_id":"acme","provider_type":"api","provider_username":"\\u00fcnn@example.com","limit":50000.0}'
    )
    png = base64.b64decode(code.qr_base64.removeprefix("data:image/png;base64,"), validate=True)
    image = Image.open(io.BytesIO(png))
    assert image.size == (400, 400)
    [read] = zxingcpp.read_barcodes(image)
    assert read.text == code.qr_data
    assert code.created_at is not None
    assert code.expires_at is not None
    assert (code.expires_at - code.created_at).total_seconds() == 60
    told = code.to_json_safe_dict()
    assert json.dumps(told)
    assert told.keys() - code.to_dict().keys() == {"created_at", "expires_at"}
    assert code.get_html_img_tag() == f'<img src="{code.qr_base64}" alt="CONXA QR Code" />'


def test_a_code_as_svg(client: CONXAClient) -> None:
    assert "<svg" in client.create_payment_qr_svg(ANN, limit=5)
    with pytest.raises(ValueError, match="size"):
        client.create_payment_qr_svg(ANN, size=49)


# Status.


def test_status_in_all_four_states(server: ConxaServer, client: CONXAClient, user: str) -> None:
    with pytest.raises(SessionNotFoundError, match="No session found") as nobody:
        client.get_session_status(user)
    assert (nobody.value.status_code, nobody.value.error_code) == (404, "SESSION_NOT_FOUND")
    server.options.before_scan = "not_found"
    assert client.get_session_status(user).status == ConnectionStatus.NOT_FOUND
    server.options.before_scan = "pending"
    assert client.get_session_status(user).is_pending

    token = server.scan(client.create_payment_qr(user).qr_data, server.wallet(1), seconds=600)
    active = client.get_session_status(user)
    assert active.is_active
    assert active.session_token == token
    assert active.expires_at is not None
    assert 590 < active.expires_at.timestamp() - time.time() <= 600

    server.act(user, "pend")
    pending = client.get_session_status(user)
    assert pending.is_pending
    assert pending.session_token is None
    server.act(user, "restore")
    server.act(user, "expire")
    expired = client.get_session_status(user)
    assert expired.is_expired
    assert (expired.session_token, expired.expires_at) == (None, None)


def test_usernames_may_be_anything(server: ConxaServer, client: CONXAClient) -> None:
    for user in ("a b&c=d/é?#%2F", "统一", '"quoted\\'):
        connect(server, client, user)


def test_an_expired_code_is_not_polled(
    server: ConxaServer, client: CONXAClient, user: str, clock: FakeTime
) -> None:
    code = client.create_payment_qr(user, expires_in=0.001)
    time.sleep(0.002)
    before = status_calls(server)
    with pytest.raises(SessionExpiredError, match="QR code has expired"):
        client.get_session_status(user, qr_data=code)
    with pytest.raises(SessionExpiredError, match="QR code has expired"):
        client.wait_for_connection(user, qr_data=code)
    assert status_calls(server) == before


def test_a_rate_limited_status_is_asked_again(
    server: ConxaServer, client: CONXAClient, user: str, clock: FakeTime
) -> None:
    connect(server, client, user)
    server.fault("status", "rate_limit", count=2, retry_after=7)
    server.fault("status", "rate_limit")
    assert client.get_session_status(user).is_active
    assert clock.slept == [7, 7, 4]


def test_a_rate_limit_is_raised_after_three_more_tries(
    server: ConxaServer, client: CONXAClient, user: str, clock: FakeTime
) -> None:
    server.fault("status", "rate_limit", count=4, error_code="SLOW_DOWN")
    with pytest.raises(RateLimitError) as limited:
        client.get_session_status(user)
    assert clock.slept == [1, 2, 4]
    assert (limited.value.retry_after, limited.value.error_code) == (None, "SLOW_DOWN")


@pytest.mark.parametrize(("offset", "seen"), [(90, range(85, 91)), (-90, [None])])
def test_a_rate_limit_may_say_a_date(
    server: ConxaServer, client: CONXAClient, user: str, offset: int, seen: Any
) -> None:
    server.fault("status", "rate_limit", retry_after=offset, http_date=True)
    with pytest.raises(RateLimitError) as limited:
        client.get_session_status(user, retry_on_rate_limit=False)
    assert limited.value.retry_after in seen


# Waiting.


def test_waiting_ends_when_the_user_scans(server: ConxaServer, client: CONXAClient, user: str) -> None:
    code = client.create_payment_qr(user, expires_in=30)
    server.scan(code.qr_data, server.wallet(1))
    server.act(user, "pend")
    seen = []

    def approve(status: Any) -> None:
        seen.append(status.status)
        server.act(user, "restore")

    session = client.wait_for_connection(user, poll_interval=0.01, on_pending=approve, qr_data=code)
    assert session.is_active
    assert seen == [ConnectionStatus.PENDING]


def test_no_session_yet_is_waited_for_until_the_time_is_over(
    server: ConxaServer, client: CONXAClient, user: str, clock: FakeTime
) -> None:
    before = status_calls(server)
    with pytest.raises(ConnectionTimeoutError, match="within 10 seconds"):
        client.wait_for_connection(user, timeout=10)
    assert clock.slept == [2] * 5
    assert status_calls(server) == before + 5


def test_waiting_ends_with_an_expired_session(server: ConxaServer, client: CONXAClient, user: str) -> None:
    connect(server, client, user)
    server.act(user, "expire")
    with pytest.raises(SessionExpiredError, match="Session expired before connection"):
        client.wait_for_connection(user)


def test_waiting_outlives_one_rate_limit_but_not_ten_seconds_of_it(
    server: ConxaServer, client: CONXAClient, user: str, clock: FakeTime
) -> None:
    connect(server, client, user)
    server.fault("status", "rate_limit", count=4, retry_after=1)
    with pytest.warns(UserWarning, match="Rate limit hit"):
        assert client.wait_for_connection(user).is_active
    assert clock.slept == [1, 1, 1, 1]
    server.fault("status", "rate_limit", count=12, retry_after=5)
    with (
        pytest.warns(UserWarning, match="Rate limit hit"),
        pytest.raises(SessionExpiredError, match="due to rate limiting"),
    ):
        client.wait_for_connection(user)


# Charges.


def test_an_approved_charge(server: ConxaServer, client: CONXAClient, user: str) -> None:
    server.options.prices = {"gpt-4": (2, 6)}
    token = connect(server, client, user, tokens=1_000)
    assert charge(client, token) == ChargeResult(approved=True, new_balance=500)
    last = server.charges()[-1]
    assert (last.username, last.model, last.input_tokens, last.output_tokens) == (user, "gpt-4", 100, 50)
    assert (last.cost, last.balance, last.session) == (500, 500, token)


def test_the_same_key_again_is_the_same_answer_and_no_second_debit(
    server: ConxaServer, client: CONXAClient, user: str
) -> None:
    token = connect(server, client, user)
    assert charge(client, token) == charge(client, token) == ChargeResult(True, 850)
    with pytest.raises(ValidationError, match="another body") as reused:
        charge(client, token, input_tokens=101)
    assert reused.value.error_code == "IDEMPOTENCY_KEY_REUSED"
    assert [each.session for each in server.charges()].count(token) == 1
    assert sorted(server.calls()["keys"][f"{token}:key"].values()) == [1, 2]


def test_beyond_the_limit(server: ConxaServer, client: CONXAClient, user: str) -> None:
    token = connect(server, client, user, limit=149)
    assert charge(client, token) == ChargeResult(False, 1_000, "HARD_CAP_VIOLATION", None)
    server.options.cap_status = 403
    refused = charge(client, token, "other")
    assert refused == ChargeResult(
        False, 0, "HARD_CAP_VIOLATION", "[403] The limit of this connection is exceeded"
    )


def test_without_permission(server: ConxaServer, client: CONXAClient, user: str) -> None:
    token = connect(server, client, user)
    server.act(user, "revoke")
    assert client.get_session_status(user).is_active
    assert charge(client, token) == ChargeResult(
        False, 0, "NO_CHARGE_PERMISSION", "[403] The user allows no charges"
    )


def test_with_too_little(server: ConxaServer, client: CONXAClient, user: str) -> None:
    token = connect(server, client, user, tokens=149)
    assert charge(client, token) == ChargeResult(
        False, 149, "INSUFFICIENT_BALANCE", "[402] Insufficient balance"
    )
    assert charge(client, token, "less", output_tokens=49) == ChargeResult(True, 0)


def test_a_bad_key_and_an_ended_session_are_the_same_error(
    server: ConxaServer, client: CONXAClient, user: str
) -> None:
    token = connect(server, client, user)
    with (
        CONXAClient("pk_test_acme_wrong", base_url=server.url) as stranger,
        pytest.raises(AuthenticationError, match="API key") as bad_key,
    ):
        charge(stranger, token)
    server.act(user, "expire")
    with pytest.raises(AuthenticationError, match="Session expired") as ended:
        charge(client, token)
    assert bad_key.value.error_code is ended.value.error_code is None
    assert bad_key.value.status_code == ended.value.status_code == 401


def test_an_unknown_model(server: ConxaServer, client: CONXAClient, user: str) -> None:
    server.options.other_models = None
    with pytest.raises(ValidationError, match="Unknown model"):
        charge(client, connect(server, client, user))


@pytest.mark.parametrize("form", ["envelope", "detail", "detail_list"])
def test_a_wrong_body_in_every_form_of_an_error(
    server: ConxaServer, client: CONXAClient, user: str, form: Any
) -> None:
    token = connect(server, client, user)
    server.options.errors = form
    with pytest.raises(ValidationError) as wrong:
        charge(client, token, input_tokens=True)
    said = {"detail_list": "Input should be a valid integer"}.get(form, "Validation error")
    assert wrong.value.message == said
    assert [each["loc"] for each in wrong.value.errors] == (
        [["body", "input_tokens"]] if form == "envelope" else []
    )


def test_a_refusal_in_fastapis_form_tells_no_balance(
    server: ConxaServer, client: CONXAClient, user: str
) -> None:
    token = connect(server, client, user, tokens=149)
    server.options.errors = "detail"
    assert charge(client, token) == ChargeResult(False, 0, None, "[402] Insufficient balance")


def test_of_parallel_charges_under_one_key_one_is_made_and_the_others_conflict(
    server: ConxaServer, client: CONXAClient, user: str
) -> None:
    token = connect(server, client, user)
    server.fault("charge", "slow", seconds=0.6)

    def outcome(_: int) -> Any:
        try:
            return charge(client, token)
        except IdempotencyConflictError as conflict:
            return conflict.status_code, conflict.error_code

    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(outcome, range(4)))
    assert outcomes.count((409, "IDEMPOTENCY_IN_PROGRESS")) == 3
    assert outcomes.count(ChargeResult(True, 850)) == 1
    assert charge(client, token) == ChargeResult(True, 850)


def test_a_charge_goes_on_when_its_client_has_given_up(
    server: ConxaServer, client: CONXAClient, user: str
) -> None:
    token = connect(server, client, user)
    server.fault("charge", "slow", seconds=1)
    client.timeout = 0.3
    with pytest.raises(CONXAError, match="Request timeout"):
        charge(client, token)
    client.timeout = 5
    with pytest.raises(IdempotencyConflictError, match="in progress"):
        charge(client, token)
    while server.charges()[-1].session != token:
        time.sleep(0.01)
    assert charge(client, token) == ChargeResult(True, 850)


# What can go wrong with any call.

LOST = {
    "hang_after": CONXAError,
    "reset_after": CONXAError,
    "status_after": APIError,
    "garbage": None,
    "bad_envelope": None,
}
UNHEARD = {
    "hang_before": CONXAError,
    "reset_before": CONXAError,
    "status_before": APIError,
    "rate_limit": RateLimitError,
}


@pytest.mark.parametrize(("kind", "raised"), list((LOST | UNHEARD).items()))
def test_a_lost_charge_is_answered_when_it_is_sent_again(
    server: ConxaServer, client: CONXAClient, user: str, kind: Any, raised: type[CONXAError] | None
) -> None:
    token = connect(server, client, user)
    client.timeout = 0.5 if kind in ("hang_before", "hang_after") else 5
    server.fault("charge", kind)
    if raised is None:
        assert charge(client, token) == ChargeResult(False, 0)
    else:
        with pytest.raises(raised) as lost:
            charge(client, token)
        assert type(lost.value) is raised
    made = [each.session for each in server.charges()].count(token)
    assert made == (1 if kind in LOST else 0)
    client.timeout = 5
    assert charge(client, token) == ChargeResult(True, 850)
    assert [each.session for each in server.charges()].count(token) == 1


@pytest.mark.parametrize(
    ("code", "raised"),
    [
        (401, AuthenticationError),
        (402, InsufficientBalanceError),
        (403, ForbiddenError),
        (404, SessionNotFoundError),
        (409, IdempotencyConflictError),
        (422, ValidationError),
        (500, APIError),
        (503, APIError),
    ],
)
def test_every_status_is_its_own_error(
    server: ConxaServer, client: CONXAClient, user: str, code: int, raised: type[CONXAError]
) -> None:
    server.fault("status", "status_before", code=code, message="No.", error_code="BECAUSE")
    with pytest.raises(raised, match=rf"\[{code}\] No\.") as error:
        client.get_session_status(user)
    assert type(error.value) is raised
    assert (error.value.status_code, error.value.error_code) == (code, "BECAUSE")


def test_one_error_is_raised_by_nothing() -> None:
    assert "ProviderNotFoundError" not in inspect.getsource(conxa.client)


def test_timeout_reset_and_nobody_there_tell_themselves_apart_by_text_only(
    server: ConxaServer, client: CONXAClient, user: str
) -> None:
    client.timeout = 0.1
    server.fault("status", "hang_before")
    with pytest.raises(CONXAError, match=r"^Request timeout$"):
        client.get_session_status(user)
    client.timeout = 5
    server.fault("status", "reset_before")
    with pytest.raises(CONXAError, match=r"^Connection error") as gone:
        client.get_session_status(user)
    assert gone.value.status_code is None
    with (
        CONXAClient(API_KEY, base_url="http://127.0.0.1:1") as lonely,
        pytest.raises(CONXAError, match=r"^Connection error"),
    ):
        lonely.get_session_status(user)


def test_an_answer_without_fields_is_no_session(server: ConxaServer, client: CONXAClient, user: str) -> None:
    connect(server, client, user)
    for kind in ("garbage", "bad_envelope"):
        server.fault("status", kind)  # type: ignore[arg-type]
        assert client.get_session_status(user).status == ConnectionStatus.NOT_FOUND


# The rest.


def test_a_preview_asks_nobody(server: ConxaServer, client: CONXAClient) -> None:
    before = server.calls()
    assert client.preview_charge("ps_x", "gpt-4", 10, 5) == {
        "model_name": "gpt-4",
        "input_tokens": 10,
        "output_tokens": 5,
        "can_proceed": True,
    }
    assert server.calls() == before


def test_a_wallets_balance(server: ConxaServer, client: CONXAClient) -> None:
    wallet = server.wallet(5_000)
    server.top_up(wallet, -1)
    assert client.get_wallet_balance(wallet).to_dict() == {"wallet_id": wallet, "tokens": 4_999}
    with pytest.raises(SessionNotFoundError, match="Wallet not found"):
        client.get_wallet_balance("9999999999999999")
    with pytest.raises(ValueError, match="invalid characters"):
        client.get_wallet_balance("../charge")


def test_health(server: ConxaServer, client: CONXAClient) -> None:
    assert client.health_check()
    for kind in ("status_before", "garbage", "bad_envelope", "reset_before"):
        server.fault("health", kind)  # type: ignore[arg-type]
        assert not client.health_check()
    assert client.health_check()

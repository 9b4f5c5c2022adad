"""What CONXA can say to a charge, or not say: an answer goes out for one debit, and never for none."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from kit.answers import Answer
from kit.ops import eventually, records
from kit.upstream_answers import ok_json
from kit.wallets import CHAT, COMPLETION, COST, FLAT, WalletShop, wallet_shop

REQUIRED = "wallet_connection_required"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WalletShop]:
    quick = {"timeout": "250ms", "settle_within": "3s"}
    with wallet_shop(tmp_path_factory.mktemp("charges"), conxa=quick) as each:
        yield each
        each.assert_one_body_a_key()
        assert "Traceback" not in each.gateway.logs() and each.conxa.api_key not in each.gateway.logs()


@pytest.fixture(autouse=True)
def calm(shop: WalletShop) -> Iterator[None]:
    """No test leaves its faults to the next one."""
    yield
    shop.conxa.clear_faults()


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("hang_before", {}),
        ("hang_after", {}),
        ("reset_before", {}),
        ("reset_after", {"count": 2}),
        ("status_before", {"code": 503}),
        ("status_after", {"code": 500, "count": 2}),
        ("garbage", {}),
        ("bad_envelope", {}),
        ("slow", {"seconds": 0.6}),
        ("rate_limit", {"count": 2}),
        ("rate_limit", {"retry_after": 1}),
        ("rate_limit", {"retry_after": 2, "http_date": True}),
    ],
)
def test_an_unclear_answer_is_asked_for_again_and_charged_once(
    kind: Any, more: dict[str, Any], shop: WalletShop
) -> None:
    connection, wallet = shop.connect(1_000)
    shop.conxa.fault("charge", kind, **more)
    begun, before = time.monotonic(), shop.called()

    answer = shop.ask(connection)

    took = time.monotonic() - begun
    assert answer.status == 200 and answer.json() == COMPLETION
    assert answer.headers["x-conxa-balance"] == str(1_000 - COST) == str(shop.conxa.balance(wallet))
    assert len(shop.charged(wallet)) == 1 and shop.called() - before >= 2
    assert took >= more.get("retry_after", 0) - 1.0
    if kind == "slow":  # it was still in progress when it was asked for again
        assert shop.conxa.calls()["endpoints"]["charge"]["answers"].get("409")


def test_without_an_outcome_the_answer_waits_under_a_key(shop: WalletShop) -> None:
    """Every way to have none at once, since a charge is only taken up again when its lease is over."""
    kinds: list[Any] = ["hang_after", "reset_after", "status_before", "rate_limit"]
    waiting = []
    for kind in kinds:
        connection, wallet = shop.connect(1_000)
        shop.conxa.fault("charge", kind, probability=1.0)
        before = shop.upstream.count(CHAT)
        answer = shop.ask(connection)
        shop.conxa.clear_faults()
        assert_pending(answer)
        key = answer.headers["idempotency-key"]
        assert shop.upstream.count(CHAT) == before + 1
        waiting.append((connection, wallet, key, before + 1))

        # The same question is answered the same; another one is not begun.
        assert_pending(shop.ask(connection, Idempotency_Key=key))
        other = shop.ask(connection, FLAT, b"{}")
        assert (other.status, other.json()["code"]) == (503, "settlement_pending")
        assert int(other.headers["retry-after"]) > 0 and shop.upstream.count(CHAT) == before + 1

    for connection, wallet, key, _ in waiting:
        answer = eventually(lambda: served(shop, connection, key), patience=30)  # noqa: B023
        assert answer.json() == COMPLETION and answer.headers["idempotent-replayed"] == "true"
        assert answer.headers["x-conxa-balance"] == str(1_000 - COST)
        assert len(shop.charged(wallet)) == 1
        assert shop.ask(connection, FLAT, b"{}").status == 200
    assert shop.upstream.count(CHAT) == waiting[-1][3]


def assert_pending(answer: Answer) -> None:
    assert (answer.status, answer.json()["code"]) == (503, "settlement_pending")
    assert int(answer.headers["retry-after"]) > 0 and answer.headers["idempotency-key"]
    assert "choices" not in answer.json() and "x-conxa-tokens" not in answer.headers


def served(shop: WalletShop, connection: str, key: str) -> Answer | None:
    answer = shop.ask(connection, Idempotency_Key=key)
    return answer if answer.status == 200 else None


def test_too_little_in_the_wallet(shop: WalletShop) -> None:
    connection, wallet = shop.connect(COST - 1)
    answer = shop.ask(connection)
    told = answer.json()
    assert (answer.status, told["code"]) == (402, "insufficient_balance")
    assert (told["error_code"], told["new_balance"]) == ("INSUFFICIENT_BALANCE", COST - 1)
    assert told["rails"]["conxa"]["connect_url"] and "choices" not in told
    assert shop.conxa.balance(wallet) == COST - 1
    shop.conxa.top_up(wallet, 1)
    assert shop.ask(connection).status == 200 and shop.conxa.balance(wallet) == 0


def test_an_empty_wallet_is_refused_beforehand(shop: WalletShop) -> None:
    connection, _ = shop.connect(COST)
    assert shop.ask(connection).headers["x-conxa-balance"] == "0"
    served_until_now, charges = shop.upstream.count(), shop.called()
    answer = shop.ask(connection)
    told = answer.json()
    assert (answer.status, told["error_code"], told["new_balance"]) == (402, "INSUFFICIENT_BALANCE", 0)
    assert (shop.upstream.count(), shop.called()) == (served_until_now, charges)


@pytest.mark.parametrize("status", [200, 403])
def test_a_limit_holds_until_the_code_is_scanned_anew(status: Any, shop: WalletShop) -> None:
    made, wallet = shop.connection(limit=COST + 10), shop.conxa.wallet(1_000)
    shop.conxa.scan(made["qr_data"], wallet)
    shop.conxa.options.cap_status = status
    assert shop.ask(made["id"]).status == 200

    refused = shop.ask(made["id"])
    served_until_now, charges = shop.upstream.count(), shop.called()
    again = shop.ask(made["id"])

    for answer in (refused, again):
        told = answer.json()
        assert (answer.status, told["code"]) == (402, "hard_cap_violation")
        assert told["error_code"] == "HARD_CAP_VIOLATION" and "choices" not in told
        assert told["new_balance"] == (1_000 - COST if status == 200 else None)
    assert (shop.upstream.count(), shop.called()) == (served_until_now, charges)
    shop.conxa.scan(made["qr_data"], wallet)
    eventually(lambda: shop.ask(made["id"]).status == 200)
    assert shop.conxa.balance(wallet) == 1_000 - 2 * COST


def test_a_withdrawn_permission_holds_until_the_code_is_scanned_anew(shop: WalletShop) -> None:
    made, wallet = shop.connection(), shop.conxa.wallet(1_000)
    shop.conxa.scan(made["qr_data"], wallet)
    assert shop.ask(made["id"]).status == 200
    shop.conxa.act(username(made), "revoke")

    refused = shop.ask(made["id"])
    served_until_now, charges = shop.upstream.count(), shop.called()
    again = shop.ask(made["id"])

    for answer in (refused, again):
        told = answer.json()
        assert (answer.status, told["code"]) == (403, "no_charge_permission")
        assert (told["error_code"], told["new_balance"]) == ("NO_CHARGE_PERMISSION", None)
    assert (shop.upstream.count(), shop.called()) == (served_until_now, charges)
    shop.conxa.scan(made["qr_data"], wallet)
    eventually(lambda: shop.ask(made["id"]).status == 200)


def username(made: dict[str, Any]) -> str:
    name: str = json.loads(made["qr_data"])["provider_username"]
    return name


def test_a_session_that_ended_is_not_worked_for_twice(shop: WalletShop) -> None:
    """That it ended is first learnt from a charge; from then on it is known."""
    made, wallet = shop.connection(), shop.conxa.wallet(1_000)
    shop.conxa.scan(made["qr_data"], wallet)
    assert shop.ask(made["id"]).status == 200
    shop.conxa.act(username(made), "expire")

    ended = shop.ask(made["id"])
    served_until_now = shop.upstream.count()
    again = shop.ask(made["id"])

    for answer in (ended, again):
        assert (answer.status, answer.json()["code"]) == (402, REQUIRED)
        assert "choices" not in answer.json() and "error_code" not in answer.json()
    assert shop.upstream.count() == served_until_now and len(shop.charged(wallet)) == 1
    shop.conxa.scan(made["qr_data"], wallet)
    eventually(lambda: shop.ask(made["id"]).status == 200)


def test_a_session_with_an_end_is_asked_about_at_its_end(shop: WalletShop) -> None:
    made, wallet = shop.connection(), shop.conxa.wallet(1_000)
    shop.conxa.scan(made["qr_data"], wallet, seconds=0.4)
    assert shop.ask(made["id"]).status == 200
    time.sleep(0.5)
    before = shop.upstream.count()
    answer = shop.ask(made["id"])
    assert (answer.status, answer.json()["code"]) == (402, REQUIRED)
    assert shop.upstream.count() == before


def test_a_charge_that_conxa_does_not_take_is_told_the_operator(shop: WalletShop) -> None:
    connection, wallet = shop.connect(1_000)
    shop.upstream.on(CHAT, ok_json({**COMPLETION, "model": "made-up"}), ok_json(COMPLETION))
    shop.conxa.options.prices, shop.conxa.options.other_models = {"gpt-4o": (1, 1), "flat": (1, 1)}, None
    try:
        answer = shop.ask(connection)
    finally:
        shop.conxa.options.prices, shop.conxa.options.other_models = {}, (1, 1)
    assert (answer.status, answer.json()["error_code"]) == (402, "INVALID_CHARGE")
    assert shop.conxa.balance(wallet) == 1_000
    assert any(line["level"] == "error" and line.get("model") == "made-up" for line in records(shop.gateway))
    assert shop.ask(connection).status == 200


def test_a_provider_key_that_is_not_accepted_is_the_operators_to_mend(shop: WalletShop) -> None:
    """Both before the upstream works and after; nothing is lost by it."""
    known, wallet = shop.connect(1_000)
    assert shop.ask(known).status == 200
    fresh, _ = shop.connect(1_000)
    for endpoint in ("charge", "status"):
        shop.conxa.fault(endpoint, "status_before", code=401, probability=1.0)

    before = shop.upstream.count()
    unseen = shop.ask(fresh)
    assert (unseen.status, unseen.json()["code"]) == (503, "verification_unavailable")
    assert shop.upstream.count() == before
    answer = shop.ask(known)
    assert_pending(answer)

    shop.conxa.clear_faults()
    errors = [line for line in records(shop.gateway, "conxa") if line["level"] == "error"]
    assert errors and all("rails.conxa.api_key" in line["reason"] for line in errors)
    assert len(errors) == 2
    assert eventually(lambda: served(shop, known, answer.headers["idempotency-key"]), patience=30)
    assert len(shop.charged(wallet)) == 2 and shop.conxa.balance(wallet) == 1_000 - 2 * COST

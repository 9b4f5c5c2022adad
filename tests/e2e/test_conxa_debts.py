"""What was served on trust and not paid: the wallet's next request waits until it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kit.answers import Answer
from kit.ops import eventually, ledger, records
from kit.wallets import CHAT, COST, FLAT, WalletShop, wallet_shop

METERED = {"match": f"POST {CHAT}", "price": "$0.02", "conxa": {"meter": "openai"}, "settle": "deferred"}
FIXED = {
    "match": f"POST {FLAT}",
    "price": "$0.02",
    "conxa": {"model": "flat", "input_tokens": 100, "output_tokens": 0},
}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WalletShop]:
    quick = {"timeout": "250ms", "settle_within": "1s"}
    with wallet_shop(tmp_path_factory.mktemp("debts"), conxa=quick, routes=[METERED, FIXED]) as each:
        yield each
        each.assert_one_body_a_key()
        assert "Traceback" not in each.gateway.logs()


def newest(shop: WalletShop) -> dict[str, Any]:
    return ledger(shop.gateway, "?limit=1")[0]


def assert_blocked(shop: WalletShop, connection: str) -> None:
    before, charges = shop.upstream.count(), shop.called()
    for path in (CHAT, FLAT):
        answer = shop.ask(connection, path)
        assert (answer.status, answer.json()["code"]) == (503, "settlement_pending")
        assert int(answer.headers["retry-after"]) > 0
    assert (shop.upstream.count(), shop.called()) == (before, charges)


def test_what_the_wallet_did_not_pay_is_a_debt_that_blocks_it(shop: WalletShop) -> None:
    connection, wallet = shop.connect(COST - 1)
    answer = shop.ask(connection)
    assert answer.status == 200 and "x-conxa-tokens" not in answer.headers
    eventually(lambda: newest(shop)["state"] == "unknown")
    assert newest(shop)["reason"] == "insufficient_balance"
    assert_blocked(shop, connection)
    # That there is enough by now is not known before it is asked for again.
    shop.conxa.top_up(wallet, 1_000)
    assert_blocked(shop, connection)
    other, _ = shop.connect(1_000)
    assert shop.ask(other).status == 200


@pytest.mark.parametrize("code", ["HARD_CAP_VIOLATION", "NO_CHARGE_PERMISSION"])
def test_so_is_what_its_owner_did_not_allow(code: str, shop: WalletShop) -> None:
    limited = code == "HARD_CAP_VIOLATION"
    made, wallet = shop.connection(limit=COST - 1 if limited else 1_000), shop.conxa.wallet(1_000)
    shop.conxa.scan(made["qr_data"], wallet)
    if not limited:
        shop.conxa.act(made["provider_username"], "revoke")
    assert shop.ask(made["id"]).status == 200
    eventually(lambda: newest(shop)["state"] == "unknown")
    assert newest(shop)["reason"] == code.lower()
    assert_blocked(shop, made["id"])
    # A code scanned anew does not make the debt go away.
    shop.conxa.scan(made["qr_data"], wallet)
    assert_blocked(shop, made["id"])


def test_an_unknown_charge_blocks_until_it_is_settled(shop: WalletShop) -> None:
    connection, wallet = shop.connect(1_000)
    shop.conxa.fault("charge", "status_after", probability=1.0)
    assert shop.ask(connection).status == 200
    eventually(lambda: newest(shop)["state"] == "unknown")
    assert_blocked(shop, connection)
    shop.conxa.clear_faults()
    answer = eventually(lambda: served(shop, connection), patience=30)
    assert answer.headers["x-conxa-balance"] == str(1_000 - COST - 100)
    assert shop.charged(wallet) == [("gpt-4o", 12, 30), ("flat", 100, 0)]


def served(shop: WalletShop, connection: str) -> Answer | None:
    answer = shop.ask(connection, FLAT)
    return answer if answer.status == 200 else None


def test_what_a_session_took_with_it_is_a_loss(shop: WalletShop) -> None:
    made, wallet = shop.connection(), shop.conxa.wallet(1_000)
    shop.conxa.scan(made["qr_data"], wallet)
    assert shop.ask(made["id"], FLAT).status == 200
    shop.conxa.act(made["provider_username"], "expire")
    assert shop.ask(made["id"]).status == 200  # that it has ended is learnt from the charge
    eventually(lambda: newest(shop)["state"] == "refused")
    assert newest(shop)["reason"] == "session_expired"
    assert [line["reason"] for line in records(shop.gateway, "loss")] == ["session_expired"]
    assert shop.ask(made["id"]).status == 402 and shop.conxa.balance(wallet) == 900


def test_above_its_cap_a_wallet_pays_before_it_is_served(tmp_path: Path) -> None:
    caps = {"per_payer": "$0.02", "total": "$1"}
    quick = {"timeout": "250ms", "settle_within": "1s"}
    with wallet_shop(tmp_path, routes=[METERED | {"exposure": caps}], conxa=quick) as shop:
        connection, wallet = shop.connect(1_000)
        shop.conxa.fault("charge", "slow", seconds=0.2)
        trusted, paid = shop.ask(connection), shop.ask(connection)
        assert "x-conxa-tokens" not in trusted.headers and paid.headers["x-conxa-tokens"]
        assert eventually(lambda: len(shop.charged(wallet)) == 2)

"""``accept_sessions``: a session that the client brings along cannot be looked up, so it is tried first."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from kit.answers import Answer
from kit.flood import flood
from kit.ops import records
from kit.upstream_answers import status
from kit.wallets import CHAT, COST, FLAT, INPUT, OUTPUT, WalletShop, wallet_shop

ESTIMATE = 4
"""Input tokens a chat's question is thought to have."""
INVENTED = 500
GET = {"match": "GET /v1/now", "price": "$0.02", "conxa": {"model": "flat", "input_tokens": 9}}
CHATS = {"match": f"POST {CHAT}", "price": "$0.02", "conxa": {"meter": "openai"}}
IMAGES = {
    "match": f"POST {FLAT}",
    "price": "$0.02",
    "conxa": {"model": "flat", "input_tokens": 100, "output_tokens": 50},
}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WalletShop]:
    own = {"accept_sessions": True, "timeout": "500ms", "settle_within": "2s"}
    folder = tmp_path_factory.mktemp("own")
    with wallet_shop(folder, conxa=own, routes=[CHATS, IMAGES, GET]) as each:
        yield each
        each.assert_one_body_a_key()
        assert "Traceback" not in each.gateway.logs() and "ps_" not in each.gateway.logs()


def session(shop: WalletShop, tokens: int = 1_000) -> tuple[str, str]:
    """A session made elsewhere with the same provider, as users of the SDK have; and its wallet."""
    made, wallet = shop.connection(), shop.conxa.wallet(tokens)
    return shop.conxa.scan(made["qr_data"].replace("tollway-", "own-"), wallet), wallet


def ask(shop: WalletShop, token: str, path: str = CHAT, **headers: str) -> Answer:
    return shop.ask(None, path, X_Provider_Session=token, **headers)


def keys(shop: WalletShop, wallet: str) -> list[str]:
    return [str(each.key) for each in shop.conxa.charges() if each.wallet == wallet]


def test_switched_off_it_is_no_credential(tmp_path: Path) -> None:
    with wallet_shop(tmp_path) as shop:
        token, wallet = session(shop)
        answer = ask(shop, token)
        assert (answer.status, answer.json()["code"]) == (402, "payment_required")
        assert shop.called() == 0 and shop.upstream.count() == 0
        connection, _ = shop.connect(1_000)
        assert shop.ask(connection, X_Provider_Session=token).status == 200
        assert token.encode() not in shop.upstream.last(CHAT).raw
        assert shop.conxa.balance(wallet) == 1_000


def test_an_unseen_one_pays_for_its_input_first_and_then_for_the_rest(shop: WalletShop) -> None:
    token, wallet = session(shop)
    answer = ask(shop, token)
    assert answer.status == 200 and answer.headers["x-conxa-tokens"] == f"in={INPUT};out={OUTPUT}"
    assert answer.headers["x-conxa-balance"] == str(1_000 - COST) == str(shop.conxa.balance(wallet))
    assert shop.charged(wallet) == [("gpt-4o", ESTIMATE, 0), ("gpt-4o", INPUT - ESTIMATE, OUTPUT)]
    first, rest = keys(shop, wallet)
    assert first.endswith(":in") and not rest.endswith(":in")
    assert token.encode() not in shop.upstream.last(CHAT).raw

    assert ask(shop, token).status == 200
    assert shop.charged(wallet)[2:] == [("gpt-4o", INPUT, OUTPUT)]


def test_a_fixed_charge_is_split_the_same(shop: WalletShop) -> None:
    token, wallet = session(shop)
    assert ask(shop, token, FLAT).status == 200
    assert shop.charged(wallet) == [("flat", 100, 0), ("flat", 0, 50)]


def test_what_failed_is_not_paid_for_twice_under_its_key(shop: WalletShop) -> None:
    token, wallet = session(shop)
    shop.upstream.on(FLAT, status(500), status(200))
    assert ask(shop, token, FLAT, Idempotency_Key="mine").status == 500
    assert shop.charged(wallet) == [("flat", 100, 0)]
    assert ask(shop, token, FLAT, Idempotency_Key="mine").status == 200
    assert shop.charged(wallet) == [("flat", 100, 0), ("flat", 0, 50)]


def test_a_refused_one_is_not_tried_again(shop: WalletShop) -> None:
    token, wallet = session(shop, tokens=ESTIMATE - 1)
    served, charges = shop.upstream.count(), shop.called()
    first = ask(shop, token)
    told = first.json()
    assert (first.status, told["error_code"], told["new_balance"]) == (402, "INSUFFICIENT_BALANCE", 3)
    assert shop.called() == charges + 1
    shop.conxa.top_up(wallet, 1_000)
    again = ask(shop, token)
    assert (again.status, again.json()["error_code"]) == (402, "INSUFFICIENT_BALANCE")
    assert (shop.upstream.count(), shop.called()) == (served, charges + 1)


def test_one_that_ends_is_not_worked_for_twice(shop: WalletShop) -> None:
    made, wallet = shop.connection(), shop.conxa.wallet(1_000)
    token = shop.conxa.scan(made["qr_data"], wallet)
    assert ask(shop, token).status == 200
    shop.conxa.act(made["provider_username"], "expire")
    assert ask(shop, token).json()["code"] == "wallet_connection_required"
    served, charges = shop.upstream.count(), shop.called()
    assert ask(shop, token).json()["code"] == "wallet_connection_required"
    assert (shop.upstream.count(), shop.called()) == (served, charges)


def test_our_own_key_is_not_the_sessions_fault(shop: WalletShop) -> None:
    token, _ = session(shop)
    for endpoint in ("charge", "status"):
        shop.conxa.fault(endpoint, "status_before", code=401, probability=1.0)
    served = shop.upstream.count()
    answer = ask(shop, token)
    shop.conxa.clear_faults()
    assert (answer.status, answer.json()["code"]) == (503, "verification_unavailable")
    assert shop.upstream.count() == served
    assert any(line["level"] == "error" for line in records(shop.gateway, "conxa"))
    assert ask(shop, token).status == 200


def test_without_an_answer_to_the_try_nothing_is_begun(shop: WalletShop) -> None:
    token, wallet = session(shop)
    shop.conxa.fault("charge", "reset_after", probability=1.0)
    served = shop.upstream.count()
    answer = ask(shop, token, Idempotency_Key="again")
    assert (answer.status, answer.json()["code"]) == (503, "verification_unavailable")
    assert shop.upstream.count() == served
    shop.conxa.clear_faults()
    assert ask(shop, token, Idempotency_Key="again").status == 200
    assert sum(came + went for _, came, went in shop.charged(wallet)) == COST


@pytest.mark.parametrize("token", ["", " ", "ps_\xe9", "p" * 5000])
def test_what_cannot_be_a_session_is_not_tried(token: str, shop: WalletShop) -> None:
    charges = shop.called()
    assert ask(shop, token).status in (400, 402, 431) and shop.called() == charges


def test_a_session_and_a_connection_at_once_are_neither(shop: WalletShop) -> None:
    token, wallet = session(shop)
    connection, other = shop.connect(1_000)
    answer = shop.ask(connection, X_Provider_Session=token)
    assert (answer.status, answer.json()["code"]) == (400, "malformed_payment")
    assert [shop.conxa.balance(each) for each in (wallet, other)] == [1_000, 1_000]


def test_invented_ones_leave_nothing_behind(shop: WalletShop) -> None:
    before, served = rows(shop), shop.upstream.count()
    invented = [{"X-Provider-Session": f"ps_invented_{number}"} for number in range(INVENTED)]
    seen = flood(shop.url + "/v1/now", invented, connections=50)
    assert seen == {(402, "wallet_connection_required"): INVENTED}
    assert shop.upstream.count() == served and rows(shop) == before


def rows(shop: WalletShop) -> dict[str, int]:
    """How much is in each table of the embedded store."""
    [file] = databases(shop)
    with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type='table'")]
        return {name: database.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in tables}


def databases(shop: WalletShop) -> list[Path]:
    every = (shop.gateway.folder / "data").iterdir()
    return [file for file in every if file.is_file() and file.read_bytes()[:6] == b"SQLite"]

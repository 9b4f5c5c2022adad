"""From no wallet to a paid answer, as a client of a CONXA gateway sees it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from kit.answers import request
from kit.ops import eventually, ledger, metric, records
from kit.upstream_answers import ok_json, status
from kit.wallets import CHAT, CONNECTIONS, COST, FLAT, INPUT, OUTPUT, WalletShop, wallet_shop


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WalletShop]:
    with wallet_shop(tmp_path_factory.mktemp("wallets")) as each:
        yield each
        assert "Traceback" not in each.gateway.logs()


def test_the_challenge_says_where_to_connect(shop: WalletShop) -> None:
    answer = shop.ask(None)

    assert answer.status == 402
    body = answer.json()
    assert (body["code"], body["accepts"], body["x402Version"]) == ("payment_required", [], 1)
    how = body["rails"]["conxa"]
    assert how["scheme"] == "conxa" and how["header"] == "X-Tollway-Connection"
    assert how["connections_url"] == shop.url + CONNECTIONS
    assert how["charge"] == {"meter": "openai"}
    assert shop.upstream.count(CHAT) == 0


def test_connect_then_pay_per_token(shop: WalletShop) -> None:
    made = shop.connection(limit=5_000)
    assert made["status"] == "pending"
    assert shop.ask(made["id"]).json()["code"] == "wallet_connection_required"
    wallet = shop.conxa.wallet(1_000)
    shop.conxa.scan(made["qr_data"], wallet)
    told = eventually(lambda: _active(made["status_url"]))
    assert told["id"] == made["id"] and "ps_" not in str(told)

    answer = shop.ask(made["id"])

    assert answer.status == 200 and answer.json()["choices"]
    assert answer.headers["x-conxa-tokens"] == f"in={INPUT};out={OUTPUT}"
    assert answer.headers["x-conxa-balance"] == str(1_000 - COST) == str(shop.conxa.balance(wallet))
    (charge,) = [each for each in shop.conxa.charges() if each.wallet == wallet]
    assert (charge.model, charge.input_tokens, charge.output_tokens) == ("gpt-4o", INPUT, OUTPUT)
    assert _active(made["status_url"])["balance"] == 1_000 - COST


def _active(status_url: str) -> dict[str, object] | None:
    told: dict[str, object] = request(status_url).json()
    return told if told["status"] == "active" else None


def test_an_answer_that_is_no_success_costs_nothing(shop: WalletShop) -> None:
    connection, wallet = shop.connect(1_000)
    shop.upstream.on(CHAT, status(500), ok_json({"model": "m", "usage": {"prompt_tokens": 1}}))
    assert shop.ask(connection).status == 500
    assert shop.conxa.balance(wallet) == 1_000


def test_a_flat_route_costs_the_same_each_time(shop: WalletShop) -> None:
    connection, wallet = shop.connect(1_000)
    assert [shop.ask(connection, FLAT, body=b"{}").status for _ in range(3)] == [200] * 3
    assert shop.conxa.balance(wallet) == 700


def test_the_same_key_is_charged_once(shop: WalletShop) -> None:
    connection, wallet = shop.connect(1_000)
    first = shop.ask(connection, FLAT, Idempotency_Key="mine")
    again = shop.ask(connection, FLAT, Idempotency_Key="mine")
    other = shop.ask(connection, FLAT, b'{"other": 1}', Idempotency_Key="mine")

    assert (first.status, again.status, again.body) == (200, 200, first.body)
    assert again.headers["idempotent-replayed"] == "true"
    assert again.headers["x-conxa-balance"] == "900" == str(shop.conxa.balance(wallet))
    assert other.status == 409


def test_what_the_operator_sees(shop: WalletShop) -> None:
    connection, _ = shop.connect(1_000)
    before = metric(shop.gateway, "tollway_metered_tokens_total", direction="input")
    assert shop.ask(connection, FLAT).status == 200
    assert metric(shop.gateway, "tollway_metered_tokens_total", direction="input") == before + 100
    newest = ledger(shop.gateway)[0]
    assert (newest["rail"], newest["state"]) == ("conxa", "settled") and newest["transaction"]
    line = records(shop.gateway, "request")[-1]
    assert line["payer"].startswith("tollway-") and connection not in shop.gateway.logs()


def test_a_connection_whose_status_is_asked_for_stays_a_secret(shop: WalletShop) -> None:
    """Its id is in the path, and the log has paths."""
    made = shop.connection()
    for url in (made["status_url"], made["qr_svg_url"]):
        assert request(url).status == 200
    assert made["id"] not in shop.gateway.logs()
    shown = [line["path"] for line in records(shop.gateway, "request")[-2:]]
    assert shown == [f"{CONNECTIONS}/{{id}}", f"{CONNECTIONS}/{{id}}/qr.svg"]


def test_the_end_of_a_session_is_learnt_from_its_charge(shop: WalletShop) -> None:
    """The upstream works in vain once: then it is known that nobody would pay."""
    made, wallet = shop.connection(), shop.conxa.wallet(1_000)
    shop.conxa.scan(made["qr_data"], wallet)
    assert shop.ask(made["id"], FLAT).status == 200
    shop.conxa.act(made["provider_username"], "expire")
    worked = shop.upstream.count(FLAT)

    told = [shop.ask(made["id"], FLAT).json()["code"] for _ in range(3)]

    assert told == ["wallet_connection_required"] * 3
    assert (shop.upstream.count(FLAT), shop.conxa.balance(wallet)) == (worked + 1, 900)
    eventually(lambda: request(made["status_url"]).status == 410)

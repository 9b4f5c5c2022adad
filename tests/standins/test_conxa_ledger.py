"""The stand-in's book: no token appears or vanishes and no key debits twice, whatever comes when."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.devconxa.ledger import Attempt, Ledger
from gateway.devconxa.options import Options
from gateway.devconxa.orders import Order, order_of
from gateway.devconxa.replies import Declined, Reply, rendered
from gateway.devconxa.standin import provider_of

PROVIDERS = {"pk_test_acme_x": "acme", "pk_test_rival_x": "rival"}


class Clock:
    """Stands still until told."""

    def __init__(self) -> None:
        self.now = 1_900_000_000.0

    def __call__(self) -> float:
        return self.now


def qr(username: str = "ann", limit: float | None = None, provider: str = "acme", **more: Any) -> str:
    payload = {"provider_id": provider, "provider_type": "api", "provider_username": username}
    return json.dumps(payload | ({} if limit is None else {"limit": limit}) | more)


def attempt(token: str, key: str | None = "k", inputs: int = 10, outputs: int = 5, **more: Any) -> Attempt:
    order = Order(model_name=more.pop("model", "m"), input_tokens=inputs, output_tokens=outputs)
    return Attempt(more.pop("provider", "acme"), token, key, order)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(clock: Clock) -> Ledger:
    return Ledger(PROVIDERS, clock=clock)


def declined(reply: Declined) -> tuple[int, str | None]:
    return reply.reply.status, reply.reply.body.get("code")


def test_a_charge_is_taken_from_the_wallet_at_the_models_price(ledger: Ledger) -> None:
    ledger.options.prices = {"dear": (2, 30)}
    wallet = ledger.wallets.open(1_000)
    session = ledger.scan(qr(), wallet)

    reply = ledger.charge(attempt(session.token, model="dear"))

    assert reply == Reply(200, {"approved": True, "new_balance": 830, "error_code": None})
    [charge] = ledger.charges
    assert (charge.cost, charge.balance, charge.key, charge.username) == (170, 830, "k", "ann")
    assert (charge.wallet, charge.session, charge.number) == (wallet, session.token, 1)


def test_a_strict_table_refuses_other_models_and_leaves_the_key_free(ledger: Ledger) -> None:
    ledger.options.other_models = None
    token = ledger.scan(qr(), ledger.wallets.open(100)).token
    with pytest.raises(Declined, match="422 Unknown model"):
        ledger.charge(attempt(token))
    ledger.options.prices = {"m": (1, 1)}
    assert ledger.charge(attempt(token)).body["approved"]


@pytest.mark.parametrize(("limit", "approved"), [(15.0, True), (15.9, True), (14.9, False), (0, False)])
def test_the_limit_of_a_code_caps_the_connection(ledger: Ledger, limit: float, approved: bool) -> None:
    token = ledger.scan(qr(limit=limit), ledger.wallets.open(100)).token
    reply = ledger.charge(attempt(token))
    assert reply.body["approved"] is approved
    assert reply.body["error_code"] == (None if approved else "HARD_CAP_VIOLATION")


def test_the_limit_counts_all_charges_of_the_connection(ledger: Ledger) -> None:
    token = ledger.scan(qr(limit=44), ledger.wallets.open(100)).token
    assert [ledger.charge(attempt(token, key)).body["approved"] for key in ("a", "b", "c")] == [
        True,
        True,
        False,
    ]
    assert ledger.charge(attempt(token, "d", 10, 4)).body == {
        "approved": True,
        "new_balance": 56,
        "error_code": None,
    }


def test_a_new_scan_makes_a_new_session_with_a_limit_of_its_own(ledger: Ledger) -> None:
    wallet = ledger.wallets.open(100)
    former = ledger.scan(qr(limit=15), wallet).token
    ledger.charge(attempt(former, "k1"))
    token = ledger.scan(qr(limit=15), wallet).token
    assert ledger.charge(attempt(token, "k2")).body["approved"]
    with pytest.raises(Declined, match="401"):
        ledger.charge(attempt(former, "k3"))


def test_a_session_ends_by_the_clock(ledger: Ledger, clock: Clock) -> None:
    token = ledger.scan(qr(), ledger.wallets.open(100), seconds=60).token
    active = {"status": "active", "session_token": token, "expires_at": "2030-03-17T17:47:40Z"}
    assert ledger.status("acme", "ann").body == active
    clock.now += 60
    assert ledger.status("acme", "ann").body == {
        "status": "expired",
        "session_token": None,
        "expires_at": None,
    }
    with pytest.raises(Declined, match="401 Session expired"):
        ledger.charge(attempt(token))
    ledger.act("ann", "restore")
    assert ledger.charge(attempt(token)).body["approved"]


@pytest.mark.parametrize("spoiled", ["expire", "revoke", "pend"])
def test_a_finished_charge_is_answered_again_whatever_became_of_the_session(
    ledger: Ledger, spoiled: Any
) -> None:
    token = ledger.scan(qr(), ledger.wallets.open(100)).token
    first = ledger.charge(attempt(token))
    ledger.act("ann", spoiled)
    assert ledger.charge(attempt(token)) == first
    assert len(ledger.charges) == 1


def test_refusals_are_stored_under_their_key_too(ledger: Ledger) -> None:
    wallet = ledger.wallets.open(10)
    token = ledger.scan(qr(), wallet).token
    poor = ledger.charge(attempt(token))
    assert (poor.status, poor.body["new_balance"]) == (402, 10)
    ledger.wallets.top_up(wallet, 90)
    assert ledger.charge(attempt(token)) == poor
    assert ledger.charge(attempt(token, "another")).body["new_balance"] == 85


def test_a_key_is_one_body_and_one_provider(ledger: Ledger) -> None:
    wallet = ledger.wallets.open(100)
    mine = ledger.scan(qr(), wallet).token
    theirs = ledger.scan(qr(provider="rival"), wallet).token
    ledger.charge(attempt(mine))
    with pytest.raises(Declined) as reused:
        ledger.charge(attempt(mine, inputs=11))
    assert declined(reused.value) == (422, "IDEMPOTENCY_KEY_REUSED")
    assert ledger.charge(attempt(theirs, provider="rival", inputs=11)).body["new_balance"] == 69
    with pytest.raises(Declined, match="401"):
        ledger.charge(attempt(theirs, "another's token"))


def test_a_key_in_progress_is_a_conflict_until_it_is_finished(ledger: Ledger) -> None:
    token = ledger.scan(qr(), ledger.wallets.open(100)).token
    assert ledger.begin(attempt(token)) is None
    with pytest.raises(Declined) as running:
        ledger.charge(attempt(token))
    assert declined(running.value) == (409, "IDEMPOTENCY_IN_PROGRESS")
    done = ledger.finish(attempt(token))
    assert ledger.charge(attempt(token)) == done


def test_users_of_one_name_are_told_apart_by_provider(ledger: Ledger) -> None:
    wallet = ledger.wallets.open(100)
    ledger.scan(qr(), wallet)
    ledger.scan(qr(provider="rival"), wallet)
    with pytest.raises(Declined, match="404 2 sessions"):
        ledger.act("ann", "expire")
    ledger.act("ann", "expire", "rival")
    assert ledger.status("acme", "ann").body["status"] == "active"
    assert ledger.status("rival", "ann").body["status"] == "expired"


@pytest.mark.parametrize(
    "qr_data",
    ["", "https://x", "[]", qr(username=" "), qr(limit=-1), qr(limit=float("inf")), qr(provider_type="app")],
)
def test_what_is_no_code_of_conxas_cannot_be_scanned(ledger: Ledger, qr_data: str) -> None:
    with pytest.raises(Declined, match="422"):
        ledger.scan(qr_data, ledger.wallets.open(1))


def test_scans_name_a_known_provider_and_a_known_wallet(ledger: Ledger) -> None:
    with pytest.raises(Declined, match="404 Provider"):
        ledger.scan(qr(provider="nobody"), ledger.wallets.open(1))
    with pytest.raises(Declined, match="404 Wallet"):
        ledger.scan(qr(), "1234567890123456")


def test_wallets_have_ids_of_16_digits_and_never_less_than_nothing(ledger: Ledger) -> None:
    assert ledger.wallets.open(1, "1000000000000000") == "1000000000000000"
    assert ledger.wallets.open(1) == "1000000000000001"
    for tokens, wallet, status in ((1, "1000000000000000", 409), (1, "12", 422), (-1, None, 422)):
        with pytest.raises(Declined, match=str(status)):
            ledger.wallets.open(tokens, wallet)
    with pytest.raises(Declined, match="422"):
        ledger.wallets.top_up("1000000000000000", -2)


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (b"", []),
        (b"[1]", []),
        (b'{"model_name":" ","input_tokens":1,"output_tokens":1}', ["model_name"]),
        (b'{"model_name":"m","input_tokens":true,"output_tokens":1}', ["input_tokens"]),
        (b'{"model_name":"m","input_tokens":1,"output_tokens":-1}', ["output_tokens"]),
        (b'{"model_name":"m","input_tokens":1.5,"output_tokens":1}', ["input_tokens"]),
        (b'{"model_name":"m","input_tokens":1}', ["output_tokens"]),
    ],
)
def test_a_wrong_body_is_refused_with_the_place(body: bytes, place: list[str]) -> None:
    with pytest.raises(Declined) as refused:
        order_of(body)
    [found] = refused.value.reply.body["errors"]
    assert (refused.value.reply.status, found["loc"]) == (422, ["body", *place])
    assert rendered(refused.value.reply, "detail_list") == {"detail": [found]}


def test_api_keys_name_their_provider() -> None:
    assert provider_of("pk_live_acme_9f_3") == "acme"
    for wrong in ("", "pk_test_", "pk_test__x", "sk_test_acme_x", "pk_prod_acme_x"):
        with pytest.raises(ValueError):
            provider_of(wrong)


USERS = ("ann", "bob")
CAP = 60
KEYS = st.sampled_from(["k1", "k2", "k3", None])
SPENT = st.tuples(st.integers(0, 40), st.integers(0, 40))
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("begin"), st.sampled_from(USERS), KEYS, SPENT),
        st.tuples(st.just("finish"), st.integers(0, 5)),
        st.tuples(st.just("top_up"), st.integers(-50, 50)),
        st.tuples(st.just("scan"), st.sampled_from(USERS), st.none() | st.integers(0, 100)),
        st.tuples(
            st.just("act"), st.sampled_from(USERS), st.sampled_from(["expire", "revoke", "restore", "pend"])
        ),
    ),
    max_size=40,
)


@settings(max_examples=100, deadline=None)
@given(events=EVENTS, cap_status=st.sampled_from([200, 403]))
def test_tokens_are_conserved_and_keys_debit_once(events: list[Any], cap_status: Any) -> None:
    ledger = Ledger(PROVIDERS, Options(cap_status=cap_status), Clock())
    wallet = ledger.wallets.open(100)
    tokens = {user: ledger.scan(qr(user, CAP), wallet).token for user in USERS}
    caps: dict[str, int | None] = dict.fromkeys(tokens.values(), CAP)
    running: list[Attempt] = []
    answers: dict[str, Reply] = {}

    for kind, *what in events:
        try:
            if kind == "begin":
                user, key, (inputs, outputs) = what
                one = attempt(tokens[user], key, inputs, outputs)
                stored = ledger.begin(one)
                if stored is None:
                    running.append(one)
                else:
                    assert stored == answers[key]
            elif kind == "finish" and running:
                one = running.pop(what[0] % len(running))
                reply = ledger.finish(one)
                if one.key is not None:
                    assert one.key not in answers
                    answers[one.key] = reply
            elif kind == "top_up":
                ledger.wallets.top_up(wallet, *what)
            elif kind == "scan":
                user, limit = what
                tokens[user] = ledger.scan(qr(user, limit), wallet).token
                caps[tokens[user]] = limit
            elif kind == "act":
                ledger.act(*what)
        except Declined as refused:
            assert refused.reply.status in (401, 409, 422)

    assert ledger.wallets.issued == ledger.wallets.balance(wallet) + sum(each.cost for each in ledger.charges)
    assert ledger.wallets.balance(wallet) >= 0
    keys = [each.key for each in ledger.charges if each.key is not None]
    assert len(keys) == len(set(keys))
    for token, cap in caps.items():
        spent = sum(each.cost for each in ledger.charges if each.session == token)
        assert cap is None or spent <= cap

"""What is believed of a facilitator's words: decisions without any I/O, and laws that hold for all words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facilitator.answers import Declined, Paid, Unclear, read_settlement, read_verdict
from facilitator.base import Accepted, Due, Refused
from facilitator.breaker import Breaker
from facilitator.endpoint import Endpoint, Reply, check_url
from facilitator.exact_evm import VALID_AFTER, VALID_BEFORE
from facilitator.pins import known
from facilitator.reasons import _ANY, _EVM, UNEXPECTED, Kind, read_reason
from facilitator.strict import MalformedPayment
from facilitator.supported import find_kind, read_kinds
from facilitator.terms import VALUE_MISMATCH
from facilitator.wire import Authorization, OpaquePayload, PaymentPayload, PaymentRequirements

PAYER = "0x" + "a1" * 20
TRANSACTION = "0x" + "cd" * 32
NETWORK = "eip155:84532"
AUTHORIZATION = Authorization(PAYER, "0x" + "b2" * 20, 10_000, 0, 2**32, bytes(32))
PAYLOAD = PaymentPayload(2, "exact", NETWORK, AUTHORIZATION, bytes(65), {}, None)
TERMS = PaymentRequirements(
    "exact", NETWORK, 84532, "base-sepolia", "0x" + "c3" * 20, 10_000, AUTHORIZATION.to, 300, "USDC", "2"
)
DUE = Due("pay_1", PAYLOAD, TERMS, 0, "remote:" + NETWORK)
SOLANA = replace(DUE, payload=OpaquePayload(2, "exact", "solana:x", b"{}"))
GOOD = {"success": True, "payer": PAYER, "network": NETWORK, "transaction": TRANSACTION, "amount": "10000"}

words = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.text(max_size=20),
    st.sampled_from([*_ANY, *_EVM, PAYER, PAYER.upper(), NETWORK, TRANSACTION, "10000", "", "0x"]),
    st.lists(st.none(), max_size=2),
    st.dictionaries(st.text(max_size=2), st.none(), max_size=2),
)
names = ["success", "isValid", "payer", "network", "transaction", "amount", "errorReason", "invalidReason"]
documents = st.dictionaries(st.sampled_from(names), words)
statuses = st.sampled_from([200, 201, 400, 401, 402, 404, 412, 429, 500, 503])
replies = st.builds(Reply, statuses, st.one_of(documents, documents.map(lambda changed: GOOD | changed)))


@given(replies)
@settings(max_examples=300, deadline=None)
def test_a_success_is_believed_only_when_all_of_it_is_ours(reply: Reply) -> None:
    document = reply.document
    payer = document.get("payer")
    ours = (
        document.get("success") is True
        and reply.status in (200, 201)
        and (payer is None or (isinstance(payer, str) and payer.lower() == PAYER))
        and document.get("network") in [NETWORK, "base-sepolia"]
        and document.get("transaction") == TRANSACTION
        and document.get("amount") in [None, "10000"]
    )
    assert (read_settlement(DUE, reply) == Paid(TRANSACTION)) is ours


@given(replies)
@settings(max_examples=300, deadline=None)
def test_a_refusal_is_final_only_in_known_words_and_without_a_transaction(reply: Reply) -> None:
    for due in (DUE, SOLANA):
        said = read_settlement(due, reply)
        if isinstance(said, Declined):
            assert reply.document["success"] is False
            assert not reply.document.get("transaction")
            assert said.reason.kind in (Kind.LASTING, Kind.PASSING)


@given(replies)
@settings(max_examples=300, deadline=None)
def test_a_verdict_is_a_boolean_and_its_words_are_ours(reply: Reply) -> None:
    verdict = read_verdict(PAYLOAD, reply)
    if isinstance(verdict, Accepted):
        assert reply.document["isValid"] is True
        assert reply.status < 300
    if isinstance(verdict, Refused):
        assert reply.document.get("isValid") in (None, False)
        assert verdict.reason in {*_ANY, *_EVM}
        assert verdict.detail == ""


@given(st.text())
@settings(max_examples=200, deadline=None)
def test_no_text_of_theirs_comes_through(text: str) -> None:
    for evm in (True, False):
        assert read_reason(text, 2, evm=evm).code in {*_ANY, *_EVM}


@pytest.mark.parametrize(
    ("said", "version", "code"),
    [
        ("invalid_payment_amount", 1, VALUE_MISMATCH[1]),
        ("invalid_payment_amount", 2, VALUE_MISMATCH[2]),
        (
            "invalid_exact_evm_payload_authorization_value",
            2,
            "invalid_exact_evm_payload_authorization_value_mismatch",
        ),
        ("invalid_payment_early", 2, VALID_AFTER),
        ("payment_expired", 1, VALID_BEFORE),
        ("INVALID_FORMAT", 2, "invalid_payload"),
        ("invalid_exact_evm_insufficient_balance", 2, "insufficient_funds"),
        ("insufficient_balance", 2, "insufficient_funds"),
        ("unsupported_chain", 2, "invalid_network"),
        ("nonce_already_used", 2, "invalid_exact_evm_nonce_already_used"),
        ("unexpected_verify_error: Traceback ...", 2, UNEXPECTED),
        ("invalid_exact_svm_payload_memo_mismatch", 2, UNEXPECTED),
    ],
)
def test_one_vocabulary(said: str, version: int, code: str) -> None:
    assert read_reason(said, version, evm=True).code == code


def test_elsewhere_evm_has_no_words() -> None:
    assert read_reason("invalid_exact_evm_payload_signature", 2, evm=False).code == "invalid_payload"
    found = read_reason("invalid_exact_svm_payload_memo_mismatch", 2, evm=False)
    assert (found.code, found.kind) == ("invalid_payload", Kind.LASTING)
    assert read_reason("payment_expired", 2, evm=False).kind is Kind.PASSING


def test_what_was_named_is_followed() -> None:
    """settlement_pending, or a refusal that names a transaction all the same."""
    for reason in ("settlement_pending", "insufficient_funds"):
        reply = Reply(200, {"success": False, "errorReason": reason, "transaction": TRANSACTION.upper()})
        assert read_settlement(DUE, reply) == Unclear()
        reply = Reply(500, {"success": False, "errorReason": reason, "transaction": "0x" + "CD" * 32})
        assert read_settlement(DUE, reply) == Unclear(TRANSACTION)
    assert read_settlement(DUE, Reply(500, GOOD)) == Unclear(TRANSACTION, doubtful=True)


def test_a_code_without_a_verdict() -> None:
    """Some answer 400 with an ``errorReason`` and nothing else."""
    coded: dict[str, Any] = {"errorReason": "invalid_payload", "errorMessage": "..."}
    assert read_verdict(PAYLOAD, Reply(400, coded)) == Refused("invalid_payload")
    assert read_verdict(PAYLOAD, Reply(200, coded)) is None
    assert read_verdict(PAYLOAD, Reply(400, {"errorReason": "who_knows"})) is None


@pytest.mark.parametrize(
    "url",
    [
        "https://f.example/base/",
        "https://f.example:8443",
        "http://127.0.0.1:4021",
        "http://[::1]:1/x",
        "http://localhost",
        "http://facilitator.internal",
    ],
)
def test_urls_that_may_be_used(url: str) -> None:
    assert check_url(url, ["facilitator.internal"]) == url.rstrip("/")


@pytest.mark.parametrize(
    "url",
    [
        "http://f.example",
        "http://127.0.0.1.example",
        "http://10.0.0.1",
        "ftp://f.example",
        "f.example",
        "https://",
        "https://key@f.example",
        "https://f.example/?key=1",
        "https://f.example/#x",
        "https://f.example:99999",
        "",
    ],
)
def test_urls_that_may_not(url: str) -> None:
    with pytest.raises(ValueError):
        check_url(url, ["facilitator.internal"])


def test_networks_of_an_endpoint() -> None:
    assert Endpoint("https://f").serves(NETWORK)
    assert not Endpoint("https://f", networks=frozenset({"solana:x"})).serves(NETWORK)


def test_the_breaker() -> None:
    now = [0.0]
    breaker = Breaker(failures=3, rest=10.0, now=lambda: now[0])
    for _ in range(2):
        breaker.failed()
    assert breaker.admit()
    breaker.worked()
    for _ in range(3):
        assert not breaker.open
        breaker.failed()
    assert breaker.open
    assert not breaker.admit()
    now[0] = 10.0
    assert not breaker.open
    assert (breaker.admit(), breaker.admit()) == (True, False), "one at a time"
    breaker.left()
    assert breaker.admit()
    breaker.failed()
    assert breaker.open, "the first failure of the one that tried"
    breaker.seen()
    assert breaker.admit()
    breaker.worked()
    assert breaker.admit()
    assert breaker.admit()
    assert not breaker.tripped


def test_kinds() -> None:
    wild = {"x402Version": 2, "scheme": "exact", "network": "eip155:*", "extra": {"a": 1, "name": "Fake"}}
    old = {"scheme": "exact", "network": "eip155:1", "extra": {"b": 2}}
    kinds = read_kinds({"kinds": [wild, old, {"scheme": None}, {"scheme": "upto", "network": "eip155:1"}]})
    assert len(kinds) == 3
    found = find_kind(kinds, "eip155:1", "exact")
    assert found is not None
    assert found.extra == {"a": 1}, "the token's name is ours to say"
    assert find_kind(kinds, "eip155:2", "upto") is None
    assert find_kind(kinds, "solana:x", "exact") is None
    [big] = read_kinds({"kinds": [{"scheme": "exact", "network": "a:b", "extra": {"x": "y" * 4000}}]})
    assert big.extra == {}
    for nonsense in ({}, {"kinds": {}}, {"kinds": [1]}, {"kinds": []}):
        with pytest.raises(MalformedPayment):
            read_kinds(nonsense)


def test_what_is_no_transaction_yet() -> None:
    assert known(TRANSACTION)
    assert not known("")
    assert not known("pin:0011")

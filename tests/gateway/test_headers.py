"""Header rules, as a client and an upstream would see them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import headers
from gateway.errors import ClientError


def names(fields: list[headers.Field]) -> list[bytes]:
    return [name.lower() for name, _ in fields]


@pytest.mark.parametrize(
    "name",
    [
        b"Connection",
        b"Keep-Alive",
        b"Transfer-Encoding",
        b"TE",
        b"Trailer",
        b"Upgrade",
        b"Proxy-Authorization",
        b"Content-Length",
        b"Expect",
        b"PAYMENT-SIGNATURE",
        b"X-PAYMENT",
        b"x-payment-response",
        b"X-Tollway-Connection",
        b"X-Tollway-Payer",
        b"X-Provider-Session",
        b"SIGN-IN-WITH-X",
        b"Payment-Retry",
        b"Settlement-Overrides",
        b"X-HTTP-Method-Override",
        b"X-Method-Override",
        b"X-Original-URL",
        b"X-Rewrite-URL",
        b"X-Override-URL",
        b"X-Accel-Redirect",
        b"Destination",
        b"Forwarded",
        b"X-Real-IP",
        b"True-Client-IP",
        b"X-Forwarded-Prefix",
        b"PAYMENT_SIGNATURE",
        b"Access-Control-Expose-Headers",
    ],
)
def test_a_clients_field_that_could_mislead_the_upstream_stays_here(name: bytes) -> None:
    assert headers.for_upstream([(name, b"x"), (b"Accept", b"*/*")]) == [(b"Accept", b"*/*")]


def test_fields_named_in_connection_are_hop_by_hop() -> None:
    fields = [(b"Connection", b"close, X-Mine"), (b"X-Mine", b"1"), (b"X-Other", b"2")]
    assert headers.for_upstream(fields) == [(b"X-Other", b"2")]


def test_connection_cannot_unframe_the_message() -> None:
    """Naming Content-Length in Connection removes nothing that we do not write ourselves."""
    fields = [(b"Connection", b"Content-Length"), (b"Idempotency-Key", b"k")]
    assert headers.for_upstream(fields) == [(b"Idempotency-Key", b"k")]


def test_an_upstream_cannot_forge_a_receipt() -> None:
    fields = [
        (b"PAYMENT-RESPONSE", b"Zm9yZ2Vk"),
        (b"X-PAYMENT-RESPONSE", b"Zm9yZ2Vk"),
        (b"PAYMENT-REQUIRED", b"x"),
        (b"Settlement-Overrides", b"{}"),
        (b"Set-Cookie", b"a=1"),
        (b"Set-Cookie", b"b=2"),
    ]
    assert headers.from_upstream(fields) == [(b"Set-Cookie", b"a=1"), (b"Set-Cookie", b"b=2")]


def test_a_paid_answer_is_unfit_for_shared_caches() -> None:
    fields = headers.private(
        [
            (b"Cache-Control", b"public, max-age=60, s-maxage=600"),
            (b"CDN-Cache-Control", b"public"),
            (b"Surrogate-Control", b"max-age=9"),
            (b"ETag", b'"x"'),
        ]
    )
    assert (b"Cache-Control", b"private, max-age=60") in fields
    assert (b"Vary", b"PAYMENT-SIGNATURE, X-PAYMENT") in fields
    assert b"cdn-cache-control" not in names(fields) and b"surrogate-control" not in names(fields)


def test_exactly_one_credential_once() -> None:
    accepted = ["PAYMENT-SIGNATURE", "X-PAYMENT"]
    assert headers.credential([(b"payment-signature", b"AAAA")], accepted) == ("PAYMENT-SIGNATURE", "AAAA")
    assert headers.credential([(b"PAYMENT_SIGNATURE", b"AAAA")], accepted) is None
    for twice in (b"PAYMENT-SIGNATURE", b"X-PAYMENT"):
        with pytest.raises(ClientError, match="malformed_payment"):
            headers.credential([(b"PAYMENT-SIGNATURE", b"A"), (twice, b"B")], accepted)


def test_a_credential_of_another_rail_is_not_one_here() -> None:
    assert headers.credential([(b"X-Provider-Session", b"ps_1")], ["PAYMENT-SIGNATURE"]) is None


@given(st.binary(max_size=12))
def test_what_is_called_emittable_has_no_control_bytes(value: bytes) -> None:
    if headers.emittable([(b"X", value)]):
        assert not any(byte < 32 and byte != 9 for byte in value) and 127 not in value


def test_cors_answers_a_listed_origin_only() -> None:
    assert headers.cors("*", None)[0] == (b"Access-Control-Allow-Origin", b"*")
    assert headers.cors(["https://a.example"], "https://a.example")[0][1] == b"https://a.example"
    assert headers.cors(["https://a.example"], "https://b.example") == []


def test_one_idempotency_key_of_a_length_that_can_be_kept() -> None:
    assert headers.idempotency_key([(b"idempotency-key", b"k")]) == "k"
    assert headers.idempotency_key([]) is None
    for refused in ([(b"Idempotency-Key", b"k")] * 2, [(b"Idempotency-Key", b"k" * 256)]):
        with pytest.raises(ClientError, match="bad_idempotency_key"):
            headers.idempotency_key(refused)

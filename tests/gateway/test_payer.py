"""The diagnosing client: what it signs, and what it does not."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from coincurve import PrivateKey
from eth_account import Account
from kit.answers import decoded
from kit.payments import encoded
from kit.upstream import Upstream
from kit.upstream_answers import ok_json

from gateway.payer import PaymentFailed, Purchase, Request, headers_of, private_key, purchase, sign

KEY = "0x" + "11" * 32
TOKEN = "0x036CbD53842c5426634e7929541eC2318f3dCF7e"
PAYEE = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"


def offer(**changes: Any) -> dict[str, Any]:
    """A v2 offer of a cent."""
    return {
        "scheme": "exact",
        "network": "eip155:84532",
        "amount": "10000",
        "asset": TOKEN,
        "payTo": PAYEE,
        "maxTimeoutSeconds": 60,
        "extra": {"name": "USDC", "version": "2"},
    } | changes


def challenge(*offers: dict[str, Any]) -> Any:
    """The 402 that makes them."""
    required = {"x402Version": 2, "error": "", "resource": {"url": "http://h/x"}, "accepts": list(offers)}
    return ok_json({}, 402, headers=(("PAYMENT-REQUIRED", encoded(required)),))


async def buy(upstream: Upstream, key: str | None = KEY, limit: str = "1") -> tuple[Purchase, list[str]]:
    told: list[str] = []
    bought = await purchase(
        Request(upstream.url + "/x"),
        key,
        told.append,
        decimals=lambda network, asset: 6 if asset == TOKEN else None,
        chain_id=lambda network: 84532 if network == "eip155:84532" else None,
        max_amount=Decimal(limit),
    )
    return bought, told


async def test_it_signs_what_was_offered(upstream: Upstream) -> None:
    upstream.on("/x", challenge(offer()), ok_json({"sun": True}))
    bought, told = await buy(upstream)
    assert bought.reply.status == 200 and bought.offer is not None and bought.offer.amount == 10_000
    sent = decoded(upstream.last("/x").header("PAYMENT-SIGNATURE") or "")
    authorization = sent["payload"]["authorization"]
    assert authorization["from"].lower() == Account.from_key(KEY).address.lower()
    assert (authorization["to"].lower(), authorization["value"]) == (PAYEE.lower(), "10000")
    assert sent["accepted"] == offer()
    assert any("0.01 USDC" in line for line in told) and not any(KEY[2:] in line for line in told)


REFUSED = {
    "above the limit": offer(amount="1000001"),
    "a token nobody knows": offer(asset=PAYEE),
    "a network nobody knows": offer(network="eip155:1"),
    "another scheme": offer(scheme="upto"),
    "a payee that is none": offer(payTo="0x12"),
}


@pytest.mark.parametrize("why", REFUSED)
async def test_it_signs_nothing_else(why: str, upstream: Upstream) -> None:
    upstream.on("/x", challenge(REFUSED[why]))
    with pytest.raises(PaymentFailed, match="no offer of a known asset at or under 1"):
        await buy(upstream)
    assert upstream.count() == 1


async def test_it_takes_the_first_offer_that_fits(upstream: Upstream) -> None:
    upstream.on("/x", challenge(*REFUSED.values(), offer(amount="7"), offer(amount="5")), ok_json({}))
    bought, _ = await buy(upstream)
    assert bought.offer is not None and bought.offer.amount == 7


async def test_without_a_key_it_stops_at_the_challenge(upstream: Upstream) -> None:
    upstream.on("/x", challenge(offer()))
    bought, _ = await buy(upstream, key=None)
    assert bought.reply.status == 402 and bought.offer is not None and upstream.count() == 1


async def test_what_costs_nothing_is_just_fetched(upstream: Upstream) -> None:
    upstream.on("/x", ok_json({"free": 1}))
    bought, _ = await buy(upstream)
    assert bought.offer is None and bought.receipt is None and bought.reply.status == 200


async def test_a_second_402_is_a_refusal_that_is_shown(upstream: Upstream) -> None:
    upstream.on("/x", challenge(offer()), ok_json({"error": "insufficient_funds"}, 402))
    with pytest.raises(PaymentFailed, match="insufficient_funds"):
        await buy(upstream)
    assert upstream.count() == 2


@pytest.mark.parametrize("text", ["", "0x", "11" * 31, "0x" + "11" * 33, "0x" + "zz" * 32, "0x" + "00" * 32])
def test_a_key_that_is_none_is_not_repeated(text: str) -> None:
    with pytest.raises(ValueError) as refused:
        private_key(text)
    assert not text.removeprefix("0x") or text not in str(refused.value)


@pytest.mark.parametrize("text", [KEY, KEY[2:], KEY.upper().replace("X", "x")])
def test_a_key(text: str) -> None:
    assert private_key(text) == PrivateKey(bytes.fromhex(KEY[2:]))


def test_headers() -> None:
    assert headers_of(["A: 1", "B:", "C: x: y"]) == {"A": "1", "B": "", "C": "x: y"}
    for wrong in ("A", ": 1", ""):
        with pytest.raises(ValueError, match="not a header"):
            headers_of([wrong])


def test_each_signature_has_its_own_nonce() -> None:
    from facilitator.challenge import decode_required

    required = decode_required(
        encoded({"x402Version": 2, "error": "", "accepts": [offer()], "resource": {"url": "u"}})
    )
    signed = [sign(required, required.offers[0], private_key(KEY), 84532) for _ in range(2)]
    assert len({each.authorization.nonce for each in signed}) == 2

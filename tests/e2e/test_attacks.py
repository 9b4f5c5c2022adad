"""The published attacks on x402, and ours, by their names: all of them fail here.

Source: arXiv 2605.11781, 2605.30998 and 2607.19545.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from eth_utils import keccak
from kit.answers import Answer, request
from kit.anvil import Anvil
from kit.deployment import PRICE, Deployment, deployed
from kit.ops import eventually, ledger
from kit.payments import SignedPayment, sign_payment
from kit.upstream_answers import held, ok_json

FundedAccount = Callable[..., Any]
PATH = "/v1/goods"
ROUTES = [
    {"match": "GET /v1/dear", "price": "$0.50"},
    {
        "match": "POST /v1/by-model",
        "price": {"when": [{"body.model": "large", "price": "$0.50"}], "else": "$0.01"},
    },
    {
        "match": "GET /v1/by-size",
        "price": {"when": [{"query.size": "large", "price": "$0.50"}], "else": "$0.01"},
    },
    {"match": "* /v1/**", "price": "$0.01"},
]
TRANSFER = "transferWithAuthorization(address,address,uint256,uint256,uint256,bytes32,bytes)"


@pytest.fixture
def shop(anvil: Anvil, tmp_path: Path) -> Iterator[Deployment]:
    with deployed(anvil, tmp_path, routes=ROUTES, server={"workers": 2}) as deployment:
        yield deployment
        assert "Traceback" not in deployment.gateway.logs()


def send(shop: Deployment, payment: SignedPayment, path: str = PATH, **headers: str) -> Answer:
    return request(shop.url + path, headers={**payment.headers, **headers})


def worked(
    shop: Deployment, payment: SignedPayment
) -> tuple[threading.Event, list[Answer], threading.Thread]:
    """A purchase whose upstream works until it is told to answer."""
    word, got = threading.Event(), list[Answer]()
    shop.upstream.on(PATH, held(word, ok_json({"secret": 1})))
    buying = threading.Thread(target=lambda: got.append(send(shop, payment)))
    buying.start()
    shop.upstream.wait_for(1, PATH)
    return word, got, buying


def call(shop: Deployment, sender: str, data: str) -> None:
    """A transaction of somebody else's to the token."""
    shop.anvil.rpc("anvil_impersonateAccount", sender)
    shop.anvil.rpc("anvil_setBalance", sender, hex(10**18))
    sent = shop.anvil.rpc("eth_sendTransaction", {"from": sender, "to": shop.anvil.token, "data": data})
    receipt = eventually(lambda: shop.anvil.rpc("eth_getTransactionReceipt", sent))
    assert receipt["status"] == "0x1"


def transfer_calldata(payment: SignedPayment) -> str:
    """What whoever sees an authorization can send (EIP-3009, the overload with ``bytes signature``)."""
    fields = payment.authorization
    words = [
        *(f"{int(fields[name], 16):064x}" for name in ("from", "to")),
        *(f"{int(fields[name]):064x}" for name in ("value", "validAfter", "validBefore")),
        fields["nonce"][2:],
        f"{7 * 32:064x}",
        f"{65:064x}",
        payment.signature[2:].ljust(192, "0"),
    ]
    return "0x" + keccak(text=TRANSFER)[:4].hex() + "".join(words)


def test_replay_for_many_grants(shop: Deployment, funded_account: FundedAccount) -> None:
    payment = shop.sign(PATH, funded_account())
    with ThreadPoolExecutor(20) as pool:
        statuses = Counter(each.status for each in pool.map(lambda _: send(shop, payment), range(60)))
    statuses.update(send(shop, payment).status for _ in range(5))
    assert statuses == {200: 1, 409: 64}
    assert shop.upstream.count(PATH) == 1 and shop.earned() == PRICE


def test_revert_after_grant(shop: Deployment, funded_account: FundedAccount) -> None:
    """The wallet is emptied while the upstream works: nothing is granted before the money is here."""
    payer = funded_account(PRICE)
    word, got, buying = worked(shop, shop.sign(PATH, payer))
    call(shop, payer.address, f"0xa9059cbb{17:064x}{PRICE:064x}")
    word.set()
    buying.join()
    assert got[0].status == 402 and b"secret" not in got[0].body
    assert got[0].receipt is not None and got[0].receipt["success"] is False and shop.earned() == 0


def test_preemption_of_the_authorization(shop: Deployment, funded_account: FundedAccount) -> None:
    """Somebody else sends the authorization while the upstream works: its payer has paid, once."""
    payment = shop.sign(PATH, funded_account())
    word, got, buying = worked(shop, payment)
    call(shop, funded_account().address, transfer_calldata(payment))
    word.set()
    buying.join()
    assert got[0].status == 200 and got[0].transaction
    assert shop.earned() == PRICE and ledger(shop.gateway)[0]["state"] == "settled"


def test_preemption_before_it_is_presented(shop: Deployment, funded_account: FundedAccount) -> None:
    payment = shop.sign(PATH, funded_account())
    call(shop, funded_account().address, transfer_calldata(payment))
    refused = send(shop, payment)
    assert (refused.status, refused.json()["code"]) == (402, "invalid_exact_evm_nonce_already_used")
    assert shop.upstream.count() == 0


def test_cross_resource_substitution(shop: Deployment, funded_account: FundedAccount) -> None:
    payer = funded_account()
    cheap = shop.sign(PATH, payer)
    assert send(shop, cheap, "/v1/dear").status == 402
    assert send(shop, cheap).status == 200
    for path in ("/v1/dear", "/v1/other", PATH + "?x=1"):
        assert send(shop, cheap, path).status in (402, 409)
    assert shop.upstream.count() == 1 and shop.earned() == PRICE


def test_duplicate_settlement_race(shop: Deployment, funded_account: FundedAccount) -> None:
    """Many at once by one payer: as many transfers as answers, whatever transactions they share."""
    payer = funded_account()
    payments = [shop.sign(PATH, payer) for _ in range(10)]
    with ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(lambda each: send(shop, each), payments * 4))
    bought = [each for each in answers if each.status == 200]
    assert len(bought) == 10 and all(each.transaction for each in bought)
    assert shop.earned() == 10 * PRICE


def test_allowance_overdraft(shop: Deployment, funded_account: FundedAccount) -> None:
    """Twenty good signatures over a balance for five: five answers, and no work for the others."""
    payer = funded_account(5 * PRICE)
    offer = request(shop.url + PATH).challenge["accepts"][0]
    payments = [sign_payment(payer.key, offer) for _ in range(20)]
    with ThreadPoolExecutor(20) as pool:
        statuses = Counter(each.status for each in pool.map(lambda each: send(shop, each), payments))
    assert statuses == {200: 5, 402: 15}
    assert shop.upstream.count(PATH) == 5 and shop.earned() == 5 * PRICE


def test_denial_of_settlement(shop: Deployment, funded_account: FundedAccount) -> None:
    """The payer cancels the authorization while the upstream works: the answer stays here."""
    payer = funded_account()
    payment = shop.sign(PATH, payer)
    word, got, buying = worked(shop, payment)
    call(shop, funded_account().address, cancel_calldata(payer.key, payment))
    word.set()
    buying.join()
    assert got[0].status == 402 and b"secret" not in got[0].body
    assert shop.earned() == 0
    assert b"secret" not in send(shop, payment, **{"Idempotency-Key": "a"}).body


def cancel_calldata(key: str, payment: SignedPayment) -> str:
    """``cancelAuthorization`` (EIP-3009, with ``bytes signature``) by the payer itself."""
    fields = payment.authorization
    types = {
        "CancelAuthorization": [
            {"name": "authorizer", "type": "address"},
            {"name": "nonce", "type": "bytes32"},
        ]
    }
    message = {"authorizer": fields["from"], "nonce": fields["nonce"]}
    signature = Account.sign_typed_data(key, payment.domain, types, message).signature.hex()
    words = [
        f"{int(fields['from'], 16):064x}",
        fields["nonce"][2:],
        f"{3 * 32:064x}",
        f"{65:064x}",
        signature.removeprefix("0x").ljust(192, "0"),
    ]
    return "0x" + keccak(text="cancelAuthorization(address,bytes32,bytes)")[:4].hex() + "".join(words)


def test_cached_paid_answers(shop: Deployment, funded_account: FundedAccount) -> None:
    cacheable = [("Cache-Control", "public, s-maxage=600, max-age=60"), ("CDN-Cache-Control", "max-age=600")]
    shop.upstream.on(PATH, ok_json({"secret": 1}, headers=cacheable))
    paid = shop.buy(PATH, funded_account())
    kept = [each.strip() for each in paid.headers["cache-control"].split(",")]
    assert "private" in kept and not {"public", "s-maxage=600"} & set(kept)
    assert "cdn-cache-control" not in paid.headers
    assert {"PAYMENT-SIGNATURE", "X-PAYMENT"} <= {v.strip() for v in paid.headers["vary"].split(",")}
    assert request(shop.url + PATH).headers["cache-control"] == "no-store"


def test_a_bystander_with_the_calldata(shop: Deployment, funded_account: FundedAccount) -> None:
    """All of the credential is in the settlement's transaction: it buys and fetches nothing."""
    payment = shop.sign(PATH, funded_account())
    bought = send(shop, payment, **{"Idempotency-Key": "the payer's own"})
    calldata = shop.anvil.rpc("eth_getTransactionByHash", bought.transaction)["input"]
    nonce = payment.authorization["nonce"][2:]
    assert nonce in calldata and payment.signature[2:66] in calldata
    for key in ({}, {"Idempotency-Key": "a guess"}):
        seen = send(shop, payment, **key)
        assert (seen.status, seen.json()["code"]) == (409, "payment_used") and bought.body not in seen.body


def test_an_old_authorization_after_the_store_was_lost(
    shop: Deployment, anvil: Anvil, tmp_path: Path, funded_account: FundedAccount
) -> None:
    payment = shop.sign(PATH, funded_account())
    assert send(shop, payment).status == 200
    shop.gateway.stop()
    for file in (shop.gateway.folder / "data").iterdir():
        file.unlink()
    shop.gateway.start()
    refused = send(shop, payment)
    assert (refused.status, refused.json()["code"]) == (402, "invalid_exact_evm_nonce_already_used")
    assert shop.upstream.count(PATH) == 1


CONFUSED = {
    "duplicate key": ("/v1/by-model", b'{"model": "small", "model": "large"}'),
    "duplicate key in disguise": ("/v1/by-model", b'{"model": "small", "mode\\u006c": "large"}'),
    "duplicate parameter": ("/v1/by-size?size=small&size=large", None),
    "parameter in disguise": ("/v1/by-size?size=small&si%7Ae=large", None),
}


@pytest.mark.parametrize("how", CONFUSED)
def test_prices_confused_by_duplicates(how: str, shop: Deployment, funded_account: FundedAccount) -> None:
    path, body = CONFUSED[how]
    method = "POST" if body else "GET"
    headers = {"Content-Type": "application/json"} if body else {}
    told = request(shop.url + path, method, headers, body)
    assert (told.status, told.json()["code"]) == (400, "ambiguous_price")
    paid = request(shop.url + path, method, {**headers, **shop.sign(PATH, funded_account()).headers}, body)
    assert paid.status == 400 and shop.upstream.count() == 0

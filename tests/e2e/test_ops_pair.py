"""Two gateways on one Redis with one settlement key: together they are one shop."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Callable
from typing import Any

import aiohttp
from kit.answers import Answer, request, request_with
from kit.anvil import Anvil
from kit.deployment import PRICE, Deployment
from kit.gateway import Gateway
from kit.ops import eventually, ledger
from kit.payments import sign_payment

FundedAccount = Callable[..., Any]
MANY = 60


async def over_both(urls: list[str], payments: list[dict[str, str]]) -> list[Answer]:
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:
        asked = [
            request_with(session, urls[number % len(urls)] + "/v1/x", headers=each)
            for number, each in enumerate(payments)
        ]
        return await asyncio.gather(*asked)


def nonces(anvil: Anvil, answers: list[Answer]) -> list[int]:
    """Of the transactions in the receipts."""
    mined = [anvil.rpc("eth_getTransactionByHash", each.transaction) for each in answers]
    return sorted(int(each["nonce"], 16) for each in mined)


def test_sixty_payments_over_both(
    pair: tuple[Deployment, Gateway], anvil: Anvil, funded_account: FundedAccount
) -> None:
    shop, second = pair
    payer = funded_account(MANY * PRICE)
    offer = request(shop.url + "/v1/x").challenge["accepts"][0]
    payments = [sign_payment(payer.key, offer).headers for _ in range(MANY)]

    answers = asyncio.run(over_both([shop.url, second.url], payments))

    assert Counter(each.status for each in answers) == {200: MANY}
    assert shop.earned() == MANY * PRICE and anvil.balance(payer.address) == 0
    sent = sorted(set(nonces(anvil, answers)))
    assert sent == list(range(len(sent))), "no nonce is left out"
    for gateway in (shop.gateway, second):
        assert Counter(each["state"] for each in ledger(gateway, "?limit=500")) == {"settled": MANY}


def test_one_payment_sent_to_both_at_once(
    pair: tuple[Deployment, Gateway], funded_account: FundedAccount
) -> None:
    shop, second = pair
    payment = shop.sign("/v1/x", funded_account()).headers
    answers = asyncio.run(over_both([shop.url, second.url], [payment] * 40))
    assert Counter(each.status for each in answers) == {200: 1, 409: 39}
    assert (shop.upstream.count("/v1/x"), shop.earned()) == (1, PRICE)


def test_the_sender_dies_and_the_other_takes_over(
    pair: tuple[Deployment, Gateway], funded_account: FundedAccount
) -> None:
    """Within a lease: a purchase made meanwhile only takes longer."""
    shop, second = pair
    assert request(second.url + "/v1/x", headers=shop.sign("/v1/x", funded_account()).headers).status == 200
    payment = shop.sign("/v1/x", funded_account()).headers
    sender, other = (
        (shop.gateway, second) if '"event": "sender"' in shop.gateway.logs() else (second, shop.gateway)
    )
    assert '"event": "sender"' not in other.logs()
    os.kill(sender.pid, signal.SIGKILL)
    sender.wait()

    bought = request(other.url + "/v1/x", headers=payment, timeout=40)

    assert bought.status == 200 and shop.earned() == 2 * PRICE
    sender.start()
    assert eventually(lambda: request(sender.url + "/v1/x").status == 402)


def test_a_gateway_that_slept_past_its_lease_does_not_send(
    pair: tuple[Deployment, Gateway], anvil: Anvil, funded_account: FundedAccount
) -> None:
    shop, second = pair
    payments = [shop.sign("/v1/x", funded_account()).headers for _ in range(4)]
    assert request(shop.url + "/v1/x", headers=payments[0]).status == 200
    sender, other = (
        (shop.gateway, second) if '"event": "sender"' in shop.gateway.logs() else (second, shop.gateway)
    )
    sender.pause()
    answers = [request(other.url + "/v1/x", headers=payments[1], timeout=40)]
    sender.resume()
    answers += [
        request(each.url + "/v1/x", headers=paid)
        for each, paid in zip((sender, other), payments[2:], strict=True)
    ]
    assert [each.status for each in answers] == [200] * 3
    assert nonces(anvil, answers) == [1, 2, 3] and shop.earned() == 4 * PRICE

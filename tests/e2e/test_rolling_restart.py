"""Two instances on one Redis, restarted one after the other under load: no paid request fails."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from kit.answers import Answer, request
from kit.deployment import PRICE, Deployment
from kit.gateway import Gateway
from kit.ops import eventually, ledger
from kit.payments import sign_payment

FundedAccount = Callable[..., Any]
PATH = "/v1/x"


class Buyer(threading.Thread):
    """Buys again and again, at whichever instance takes connections, as behind a load balancer."""

    def __init__(self, urls: list[str], key: str, offer: dict[str, Any], until: threading.Event) -> None:
        super().__init__()
        self.urls, self.key, self.offer, self.until = urls, key, offer, until
        self.answers: list[Answer] = []

    def run(self) -> None:
        while not self.until.is_set():
            headers = sign_payment(self.key, self.offer).headers
            self.answers.append(self._anywhere(headers))

    def _anywhere(self, headers: dict[str, str]) -> Answer:
        while True:
            self.urls = self.urls[::-1]
            try:
                return request(self.urls[0] + PATH, headers=headers)
            except ConnectionRefusedError:
                time.sleep(0.01)


def test_a_rolling_restart_fails_no_paid_request(
    pair: tuple[Deployment, Gateway], funded_account: FundedAccount
) -> None:
    shop, second = pair
    offer = request(shop.url + PATH).challenge["accepts"][0]
    enough = threading.Event()
    buyers = [Buyer([shop.url, second.url], funded_account().key, offer, enough) for _ in range(6)]
    for buyer in buyers:
        buyer.start()
    for gateway in (shop.gateway, second, shop.gateway):
        sold = sum(len(buyer.answers) for buyer in buyers)
        eventually(lambda sold=sold: sum(len(buyer.answers) for buyer in buyers) > sold + 10)
        assert gateway.stop() == 0
        gateway.start()
    enough.set()
    for buyer in buyers:
        buyer.join()

    answers = [answer for buyer in buyers for answer in buyer.answers]
    assert {answer.status for answer in answers} == {200}
    assert all(answer.transaction for answer in answers)
    eventually(lambda: {each["state"] for each in ledger(second)} == {"settled"})
    assert shop.earned() == PRICE * len(answers) == PRICE * shop.upstream.count(PATH)

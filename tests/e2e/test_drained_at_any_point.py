"""SIGTERM in the middle of a purchase: what has begun is finished (crash-k*-sigterm)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from kit.answers import request
from kit.deployment import PRICE, Deployment
from kit.ops import eventually, ledger
from kit.upstream_answers import ok_bytes

FundedAccount = Callable[..., Any]
PATH = "/v1/x"
GOODS = bytes(range(256)) * 4096 * 15
"""More than the sockets of a connection hold: it cannot be sent in one go."""


@pytest.mark.parametrize("point", ["K2", "K4", "K10"])
def test_a_purchase_under_way_is_finished(
    point: str, single_with: Callable[..., Deployment], funded_account: FundedAccount
) -> None:
    shop = single_with(store={"url": "embedded", "max_answer": "16MiB"})
    shop.upstream.on(PATH, ok_bytes(GOODS))
    payment = shop.sign(PATH, funded_account())
    shop.gateway.stop()
    shop.gateway.start(TOLLWAY_CRASH=f"{point}:1:TERM")

    answer = request(shop.url + PATH, headers=payment.headers)

    assert answer.status == 200 and answer.body == GOODS
    assert shop.gateway.wait() == 0
    shop.gateway.start()
    (recorded,) = eventually(lambda: ledger(shop.gateway))
    assert recorded["state"] == "settled" and recorded["delivered_at_ms"]
    assert shop.earned() == PRICE and shop.upstream.count(PATH) == 1

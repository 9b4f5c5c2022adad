"""SIGHUP: prices and upstreams change at once, or nothing does."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kit.answers import Answer, request
from kit.anvil import Anvil
from kit.deployment import PRICE, Deployment, deployed
from kit.ops import (
    eventually,
    ledger,
    metric,
    priced,
    quoted,
    reloads,
    tracebacks,
)
from kit.upstream_answers import held, ok_json

FundedAccount = Callable[..., Any]
BOTH = pytest.mark.parametrize("count", [1, 2], ids=["one worker", "two workers"])


@BOTH
def test_a_reload_changes_the_price_and_keeps_what_was_quoted(
    count: int, anvil: Anvil, tmp_path: Path, funded_account: FundedAccount
) -> None:
    with deployed(anvil, tmp_path, server={"workers": count}) as shop:
        cheap = [shop.sign("/v1/x", funded_account()) for _ in range(4)]
        shop.gateway.write(priced(shop, "$0.03", server={"workers": count}))
        shop.gateway.reload()
        eventually(lambda: len(reloads(shop)) == count)

        assert {quoted(shop) for _ in range(10)} == {"30000"}
        for payment in cheap:
            assert request(shop.url + "/v1/x", headers=payment.headers).status == 200
        assert shop.earned() == 4 * PRICE
        assert shop.buy("/v1/x", funded_account()).status == 200
        assert shop.earned() == 4 * PRICE + 30_000
        assert metric(shop.gateway, "tollway_reloads_total", result="applied") == count
        assert [row["price"] for row in request(shop.gateway.admin + "/routes").json()["routes"]] == [
            "$0.03",
            "free",
        ]


def test_requests_under_way_keep_their_price_and_their_upstream(
    single: Deployment, funded_account: FundedAccount
) -> None:
    """Even where the reloaded file knows that upstream no more."""
    word = threading.Event()
    single.upstream.on("/v1/x", held(word))
    payment = single.sign("/v1/x", funded_account())
    waiting = single.sign("/v1/y", funded_account())
    got: list[Answer] = []
    asking = threading.Thread(
        target=lambda: got.append(request(single.url + "/v1/x", headers=payment.headers))
    )
    asking.start()
    single.upstream.wait_for(1, "/v1/x")
    single.anvil.pause()
    verifying = threading.Thread(
        target=lambda: got.append(request(single.url + "/v1/y", headers=waiting.headers))
    )
    verifying.start()
    eventually(lambda: [each for each in ledger(single.gateway) if each["state"] == "reserved"][1:])
    config = priced(single, "$0.03")
    config["upstreams"] = {"renamed": config["upstreams"]["api"]}
    single.gateway.write(config)
    single.gateway.reload()
    eventually(lambda: reloads(single))
    single.anvil.resume()
    word.set()
    asking.join()
    verifying.join()
    assert [each.status for each in got] == [200, 200] and single.earned() == 2 * PRICE
    assert not tracebacks(single.gateway.logs())


def test_a_reload_moves_an_upstream(single: Deployment) -> None:
    from kit.upstream import Upstream

    with Upstream() as other:
        other.on("/free/where", ok_json({"who": "other"}))
        config = priced(single, "$0.01")
        config["upstreams"]["api"]["url"] = other.url
        single.gateway.write(config)
        single.gateway.reload()
        eventually(lambda: reloads(single))
        assert request(single.url + "/free/where").json() == {"who": "other"}


WRONG = {
    "a typo": ("price: $0.01", "prise: $0.01", "prise"),
    "a price of nothing": ("price: $0.01", "price: $0.00", "price"),
    "no YAML": ("routes:", "routes: [", ""),
}


@pytest.mark.parametrize("fault", WRONG)
def test_an_invalid_file_keeps_the_old_table_and_says_where(fault: str, single: Deployment) -> None:
    old, new, key = WRONG[fault]
    config = single.gateway.config_file.read_text()
    assert old in config
    single.gateway.config_file.write_text(config.replace(old, new, 1))
    single.gateway.reload()

    told = eventually(lambda: reloads(single))[0]
    assert told["result"] == "refused" and told["level"] == "error"
    located = "\n".join(told["problems"])
    assert re.match(rf"{single.gateway.config_file}:\d+:\d+: ", located) and key in located
    assert quoted(single) == str(PRICE)
    assert metric(single.gateway, "tollway_reloads_total", result="refused") == 1


def test_a_reload_that_would_take_a_restart_is_refused_whole(single: Deployment) -> None:
    """Half of a file must not be applied: here the price without the address it is paid to."""
    config = priced(single, "$0.03")
    config["rails"]["x402"]["pay_to"] = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
    single.gateway.write(config)
    single.gateway.reload()
    told = eventually(lambda: reloads(single))[0]
    assert told["result"] == "refused" and "restart" in told["problems"][0]
    assert quoted(single) == str(PRICE)


def test_a_reload_says_what_waits_for_a_restart(single: Deployment) -> None:
    single.gateway.write(priced(single, "$0.03", server={"workers": 2}))
    single.gateway.reload()
    told = eventually(lambda: reloads(single))[0]
    assert (told["result"], told["needs_restart"]) == ("applied", ["server"])
    assert quoted(single) == "30000"

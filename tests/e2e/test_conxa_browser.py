"""A person with a browser and a wallet at the real gateway: scan the screen, and read the answer."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator, Iterator

import pytest
import zxingcpp
from kit.answers import request
from kit.browser import DESKTOP, PHONE, Tab, open_tab
from kit.chromium import Chromium
from kit.ops import eventually
from kit.upstream_answers import ok_json
from kit.wallets import CHAT, WalletShop, wallet_shop
from PIL import Image

PATH = "/v1/forecast/lisbon"
CONNECT = "/_tollway/conxa/connect"
HTML = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
FORECAST = {
    "match": "GET /v1/forecast/{city}",
    "price": "$0.02",
    "description": "Seven-day forecast",
    "conxa": {"model": "forecast", "input_tokens": 120, "output_tokens": 0},
}
CHATS = {"match": f"POST {CHAT}", "price": "$0.02", "conxa": {"meter": "openai"}}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WalletShop]:
    with wallet_shop(tmp_path_factory.mktemp("browser"), routes=[FORECAST, CHATS]) as each:
        each.upstream.on(PATH, ok_json({"city": "lisbon", "sky": "sun"}))
        yield each
        assert "Traceback" not in each.gateway.logs()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    with Chromium() as running:
        yield running


@pytest.fixture(params=[DESKTOP, PHONE], ids=["desktop", "phone"])
async def tab(request: pytest.FixtureRequest, chromium: Chromium) -> AsyncIterator[Tab]:
    """Pages may break none of their own rules, and are never wider than the window."""
    async with open_tab(chromium, request.param) as each:
        yield each
        assert each.errors == []
        assert await each.evaluate("document.documentElement.scrollWidth") == request.param[0]


async def scan(tab: Tab, shop: WalletShop, tokens: int) -> str:
    """What a wallet's camera does with the screen."""
    [code] = zxingcpp.read_barcodes(Image.open(io.BytesIO(await tab.screenshot())).convert("L"))
    told = json.loads(await tab.evaluate("sessionStorage.getItem('tollway.connection')"))
    assert code.text == told["qr_data"]
    wallet = shop.conxa.wallet(tokens)
    shop.conxa.scan(code.text, wallet)
    return wallet


async def test_connect_then_pay_by_hand(shop: WalletShop, tab: Tab) -> None:
    await tab.open(shop.url + CONNECT)
    await tab.wait_for("Waiting for your wallet")
    wallet = await scan(tab, shop, 5_000)
    await tab.wait_for("Your wallet is connected")
    assert shop.charged(wallet) == []

    await tab.click("For developers")
    await tab.wait_for("X-Tollway-Connection: cx_")
    header = await tab.evaluate("document.getElementById('header').textContent")
    answer = shop.ask(header.removeprefix("X-Tollway-Connection: "))
    assert answer.status == 200 and shop.charged(wallet) == [("gpt-4o", 12, 30)]


async def test_open_a_paid_page_scan_and_read_the_answer(shop: WalletShop, tab: Tab) -> None:
    await tab.open(f"{shop.url}{PATH}?days=7")
    await tab.wait_for("Waiting for your wallet")
    text = await tab.text()
    assert "Seven-day forecast" in text and f"GET {PATH}?days=7" in text and "120 tokens" in text

    wallet = await scan(tab, shop, 5_000)

    await tab.wait_for("Paid. Your answer is below.")
    text = await tab.text()
    assert '"sky": "sun"' in text
    assert "Charged for 120 tokens in and 0 tokens out. Your wallet has 4,880 tokens left." in text
    assert shop.charged(wallet) == [("forecast", 120, 0)]
    assert shop.upstream.last(PATH).target == f"{PATH}?days=7"


async def test_a_wallet_that_does_not_pay_is_told_so(shop: WalletShop, tab: Tab) -> None:
    await tab.open(shop.url + PATH)
    await tab.wait_for("Waiting for your wallet")
    wallet = await scan(tab, shop, 100)
    await tab.wait_for("Your wallet did not pay. It has 100 tokens.")
    assert '"sky"' not in await tab.text()
    shop.conxa.top_up(wallet, 20)
    await tab.click("Try again")
    await tab.wait_for("Paid. Your answer is below.")
    assert shop.conxa.balance(wallet) == 0


def test_a_browser_sees_a_page_and_a_program_an_offer(shop: WalletShop) -> None:
    seen = {kind: request(shop.url + PATH, headers={"Accept": kind}) for kind in (HTML, "application/json")}
    page, offer = seen.values()
    for answer in seen.values():
        assert answer.status == 402 and answer.headers["cache-control"] == "no-store"
        assert "Accept" in answer.headers["vary"].split(", ")
    assert page.headers["content-type"] == "text/html; charset=utf-8" and len(page.body) < 30_000
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    assert offer.json()["rails"]["conxa"]["connect_url"] == shop.url + CONNECT
    posted = request(shop.url + CHAT, "POST", headers={"Accept": HTML}, body=b"{}")
    assert posted.status == 402 and posted.json()["code"] == "payment_required"


def test_no_page_asks_for_a_wallet_before_there_is_one_to_pay(shop: WalletShop) -> None:
    """Opening pages costs CONXA nothing: only a code that is followed is asked about."""
    before = shop.called("status")
    for _ in range(5):
        request(shop.url + PATH, headers={"Accept": HTML})
        request(shop.url + CONNECT)
    assert eventually(lambda: shop.called("status") == before)

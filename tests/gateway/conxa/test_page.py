"""The connect page and the browser's 402: their header fields, and both in a real browser."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import html
import io
import re
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import zxingcpp
from aiohttp import web
from aiohttp.test_utils import TestServer
from kit.browser import DESKTOP, PHONE, Tab, open_tab
from kit.chromium import Chromium
from PIL import Image

from gateway.conxa import qr
from gateway.conxa.page import Page, connect_page, payment_page

CONNECTIONS = "/_tollway/conxa/connections"
CONNECT = "/_tollway/conxa/connect"
PAID = "/v1/forecast/lisbon?days=7"
LIMIT = 50_000
TOKENS = {"X-Conxa-Tokens": "in=12;out=34", "X-Conxa-Balance": "4954"}
Reply = Callable[[web.Request], web.Response]


def paid(_: web.Request) -> web.Response:
    return web.json_response({"city": "lisbon", "sky": "sun"}, headers=TOKENS)


def pending(_: web.Request) -> web.Response:
    return web.json_response({"code": "settlement_pending"}, status=503, headers={"Retry-After": "1"})


def refused(code: str | None, status: int = 402) -> Reply:
    said = {"error_code": code, "new_balance": 7} if code else {"code": "payment_required"}
    return lambda _: web.json_response(said, status=status)


class Desk:
    """What the gateway is to the page: connections whose wallets do as the test says, and one paid route."""

    def __init__(self) -> None:
        self.url = ""
        self.life = 600.0
        self.made: list[dict[str, Any]] = []
        self.asked: list[Any] = []
        self.status = "pending"
        self.busy = 0
        """How many polls are turned away before one is answered."""
        self.broken = 0
        """How many answers break off before one is whole."""
        self.bought: list[web.Request] = []
        self.replies: list[Reply] = []
        self._changed = asyncio.Event()

    def app(self) -> web.Application:
        app = web.Application()
        app.add_routes(
            [
                web.get(CONNECT, self._connect),
                web.post(CONNECTIONS, self._make),
                web.get(CONNECTIONS + "/{id}", self._follow),
                web.get("/v1/{tail:.*}", self._paid),
                web.post("/v1/{tail:.*}", self._paid),
            ]
        )
        return app

    def becomes(self, status: str) -> None:
        """The wallet does something."""
        self.status = status
        self._changed.set()
        self._changed = asyncio.Event()

    async def _connect(self, _: web.Request) -> web.Response:
        return _sent(connect_page(limit=LIMIT), 200)

    async def _make(self, request: web.Request) -> web.Response:
        asked = await request.json()
        self.asked.append(asked)
        self.status = "pending"
        number, now = len(self.made), datetime.now(UTC)
        said = qr.payload("acme", "api", f"u_{number}", asked.get("limit"))
        here = f"{CONNECTIONS}/secret-{number}"
        made = {
            "id": f"secret-{number}",
            "status": "pending",
            "qr_data": said,
            "qr_base64": "data:image/png;base64," + base64.b64encode(qr.png(said, asked["size"])).decode(),
            "qr_svg_url": f"{here}/qr.svg",
            "page_url": CONNECT,
            "status_url": f"http://another.example{here}",
            "created_at": now.isoformat(),
            "expires_at": (now + timedelta(seconds=self.life)).isoformat(),
        }
        self.made.append(made)
        return web.json_response(made, status=201)

    async def _follow(self, request: web.Request) -> web.Response:
        if self.busy:
            self.busy -= 1
            return web.Response(status=429, headers={"Retry-After": "1"})
        changed = self._changed
        if self.status == "pending" and request.query.get("wait"):
            assert request.query["wait"] == "25s"
            await asyncio.wait([asyncio.create_task(changed.wait())], timeout=25)
        told: dict[str, Any] = {"id": request.match_info["id"], "status": self.status, "expires_at": None}
        if self.status == "active":
            told["balance"] = 5000
        return web.json_response(told, status=410 if self.status == "expired" else 200)

    async def _paid(self, request: web.Request) -> web.StreamResponse:
        if "X-Tollway-Connection" not in request.headers:
            page = payment_page(
                title="Seven-day forecast",
                description="The weather in one city, a week ahead, from stations nearby.",
                price="$0.02",
                method=request.method,
                target=request.path_qs,
                limit=LIMIT,
            )
            return _sent(page, 402)
        self.bought.append(request)
        if self.broken:
            self.broken -= 1
            return await _broken(request)
        return self.replies.pop(0)(request)


def _sent(page: Page, status: int) -> web.Response:
    fields = [(name.decode(), value.decode()) for name, value in page.fields]
    return web.Response(body=page.body, status=status, headers=fields)


async def _broken(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse(headers={"Content-Length": "1000"})
    await answer.prepare(request)
    await answer.write(b"{")
    assert request.transport is not None
    request.transport.abort()
    return answer


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    desk = Desk()
    async with TestServer(desk.app()) as server:
        desk.url = str(server.make_url("")).rstrip("/")
        yield desk
        desk.becomes("expired")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    with Chromium() as running:
        yield running


@pytest.fixture
async def tab(chromium: Chromium) -> AsyncIterator[Tab]:
    """A window whose page may break none of its own rules."""
    async with open_tab(chromium) as tab:
        yield tab
        assert tab.errors == []


async def connected(desk: Desk, tab: Tab) -> None:
    """Opens the paid page and scans."""
    await tab.open(desk.url + PAID)
    await tab.wait_for("Waiting for your wallet")
    desk.becomes("active")


def code_on(screenshot: bytes) -> str:
    [found] = zxingcpp.read_barcodes(Image.open(io.BytesIO(screenshot)).convert("L"))
    return found.text


@pytest.mark.parametrize(
    "page", [connect_page(), payment_page(title="t", description="d", price="$1", method="GET", target="/")]
)
def test_the_header_forbids_all_but_the_page_itself(page: Page) -> None:
    fields = dict(page.fields)
    policy = dict(rule.split(" ", 1) for rule in fields[b"Content-Security-Policy"].decode().split("; "))
    for kind, tag in (("script-src", "script"), ("style-src", "style")):
        [inside] = re.findall(f"<{tag}>(.*?)</{tag}>", page.body.decode(), re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert policy.pop(kind) == f"'sha256-{digest}'"
    closed = ("default-src", "base-uri", "form-action", "frame-ancestors")
    assert policy == {"img-src": "'self' data:", "connect-src": "'self'", **dict.fromkeys(closed, "'none'")}
    assert fields[b"Referrer-Policy"] == b"no-referrer" and fields[b"Cache-Control"] == b"no-store"
    assert fields[b"X-Content-Type-Options"] == b"nosniff"
    assert fields[b"Content-Type"] == b"text/html; charset=utf-8"


def test_the_page_is_small_and_whole() -> None:
    page = payment_page(
        title="t" * 80, description="d" * 300, price="$1", method="GET", target="/" + "p" * 200
    )
    assert len(page.body) < 30_000
    assert re.findall(rb'(?:src|href)="(?!data:|#)', page.body) == []


def test_what_strangers_say_is_text() -> None:
    evil = "\"'><script>alert(1)</script>$title${js}&amp;\udcff"
    page = payment_page(title=evil, description=evil, price=evil, method=evil, target=evil, limit=1)
    shown = page.body.decode()
    assert shown.count("<script>") == 1 and "alert(1)" in shown
    assert shown.count(html.escape(evil).replace("\udcff", "?")) == 7


@pytest.mark.parametrize("size", [DESKTOP, PHONE])
@pytest.mark.parametrize("dark", [False, True])
async def test_the_code_on_the_screen_is_the_connections(
    chromium: Chromium, desk: Desk, size: tuple[int, int], dark: bool
) -> None:
    async with open_tab(chromium, size, dark=dark) as tab:
        await tab.open(desk.url + CONNECT)
        await tab.wait_for("Waiting for your wallet")
        await tab.wait_for("This code is valid for ")
        assert await tab.evaluate("document.documentElement.scrollWidth") == size[0]
        assert code_on(await tab.screenshot()) == desk.made[0]["qr_data"]
        assert desk.asked == [{"size": 640, "limit": LIMIT}]
        assert "50,000 tokens" in await tab.text() and "secret-0" not in await tab.text()
        assert tab.errors == []


async def test_the_page_turns_to_connected_by_itself(desk: Desk, tab: Tab) -> None:
    await tab.open(desk.url + CONNECT)
    await tab.wait_for("Waiting for your wallet")
    desk.becomes("active")
    await tab.wait_for("Your wallet is connected, with 5,000 tokens.")
    assert "valid for" not in await tab.text() and desk.bought == []
    assert "secret-0" not in await tab.text()
    assert await tab.evaluate("location.href") == desk.url + CONNECT
    await tab.click("For developers")
    await tab.wait_for("X-Tollway-Connection: secret-0")
    await tab.click("Copy header")
    await tab.wait_for("Copied")


async def test_a_paid_page_pays_and_shows_its_answer(desk: Desk, tab: Tab) -> None:
    desk.replies = [paid]
    await connected(desk, tab)
    await tab.wait_for("Paid. Your answer is below.")
    text = await tab.text()
    assert '"sky": "sun"' in text and "$0.02" in text and "GET /v1/forecast/lisbon?days=7" in text
    assert "Charged for 12 tokens in and 34 tokens out. Your wallet has 4,954 tokens left." in text
    [bought] = desk.bought
    assert bought.path_qs == PAID and bought.headers["X-Tollway-Connection"] == "secret-0"
    assert await tab.evaluate("document.getElementById('save').href.startsWith('blob:')")
    assert await tab.evaluate("document.getElementById('save').download") == "lisbon"


async def test_the_next_paid_page_of_the_tab_asks_for_a_click_only(desk: Desk, tab: Tab) -> None:
    desk.replies = [paid, paid]
    await connected(desk, tab)
    await tab.wait_for("Paid.")
    await tab.open(desk.url + "/v1/forecast/oslo")
    await tab.wait_for("Your wallet is connected, with 5,000 tokens.")
    assert len(desk.bought) == 1
    await tab.click("Pay and show the answer")
    await tab.wait_for("Paid.")
    first, second = desk.bought
    assert second.path == "/v1/forecast/oslo" and len(desk.made) == 1
    assert first.headers["Idempotency-Key"] != second.headers["Idempotency-Key"]


async def test_a_reload_keeps_the_code(desk: Desk, tab: Tab) -> None:
    for _ in range(2):
        await tab.open(desk.url + PAID)
        await tab.wait_for("Waiting for your wallet")
    assert len(desk.made) == 1 and code_on(await tab.screenshot()) == desk.made[0]["qr_data"]


async def test_an_unknown_outcome_is_asked_for_with_the_same_key(desk: Desk, tab: Tab) -> None:
    desk.replies = [pending, paid]
    await connected(desk, tab)
    await tab.wait_for("You will not pay twice")
    await tab.wait_for("Paid.")
    assert len(desk.bought) == 2 and len({each.headers["Idempotency-Key"] for each in desk.bought}) == 1


async def test_a_broken_answer_is_asked_for_with_the_same_key(desk: Desk, tab: Tab) -> None:
    desk.broken, desk.replies = 1, [paid]
    await connected(desk, tab)
    await tab.wait_for("The gateway cannot be reached.")
    await tab.wait_for("Paid.")
    assert len(desk.bought) == 2 and len({each.headers["Idempotency-Key"] for each in desk.bought}) == 1


async def test_only_a_get_is_repeated(desk: Desk, tab: Tab) -> None:
    """What was posted is not the page's to send again."""
    form = f"<form method=post action='{desk.url}/v1/chat'></form><script>document.forms[0].submit()</script>"
    await tab.open(f"data:text/html,{form}")
    await tab.wait_for("Waiting for your wallet")
    desk.becomes("active")
    await tab.wait_for("Make the request again with the header below.")
    assert desk.bought == []


async def test_a_reload_in_mid_purchase_keeps_its_key(desk: Desk, tab: Tab) -> None:
    desk.replies = [pending, paid]
    await connected(desk, tab)
    await tab.wait_for("You will not pay twice")
    await tab.open(desk.url + PAID)
    await tab.wait_for("Your wallet is connected")
    await tab.click("Pay and show the answer")
    await tab.wait_for("Paid.")
    assert len(desk.bought) == 2 and len({each.headers["Idempotency-Key"] for each in desk.bought}) == 1


@pytest.mark.parametrize("told", [True, False])
async def test_an_expired_code_is_replaced_on_request(told: bool, desk: Desk, tab: Tab) -> None:
    """Whether the gateway says so or the time is simply up."""
    desk.life = 600 if told else 1
    await tab.open(desk.url + CONNECT)
    await tab.wait_for("Waiting for your wallet")
    if told:
        desk.becomes("expired")
    await tab.wait_for("This code has expired")
    desk.life = 600
    await tab.click("Get a new code")
    await tab.wait_for("Waiting for your wallet")
    assert len(desk.made) == 2 and code_on(await tab.screenshot()) == desk.made[1]["qr_data"]


async def test_a_busy_gateway_is_waited_for(desk: Desk, tab: Tab) -> None:
    desk.busy = 1
    await tab.open(desk.url + CONNECT)
    await tab.wait_for("The gateway is busy.")
    await tab.wait_for("Waiting for your wallet")


@pytest.mark.parametrize(
    ("reply", "said", "button"),
    [
        (
            refused("HARD_CAP_VIOLATION"),
            "limit of this connection is reached. It has 7 tokens.",
            "Get a new code",
        ),
        (refused("INSUFFICIENT_BALANCE"), "Your wallet did not pay. It has 7 tokens.", "Try again"),
        (refused("NO_CHARGE_PERMISSION", 403), "no longer allows charges", "Get a new code"),
        (refused(None), "This connection is no longer valid.", "Get a new code"),
        (lambda _: web.Response(status=404, text="no city"), "answered with an error (404).", "Try again"),
        (lambda _: web.json_response({"detail": "it is down"}, status=502), "(502): it is down", "Try again"),
        (lambda _: web.Response(status=302, headers={"Location": "/"}), "with a redirect", "Try again"),
    ],
)
async def test_a_refusal_is_told_in_plain_words(
    reply: Reply, said: str, button: str, desk: Desk, tab: Tab
) -> None:
    desk.replies = [reply, paid]
    await connected(desk, tab)
    await tab.wait_for(said)
    await tab.click(button)
    if button != "Try again":
        await tab.wait_for("Waiting for your wallet")
        desk.becomes("active")
    await tab.wait_for("Paid.")
    assert len({each.headers["Idempotency-Key"] for each in desk.bought}) == 2


async def test_no_answer_is_ever_run(desk: Desk, tab: Tab) -> None:
    page = "<h1 style=color:red>Hello</h1><script>document.title='run'</script><img src=x onerror=alert(1)>"
    desk.replies = [lambda _: web.Response(text=page, content_type="text/html")]
    await connected(desk, tab)
    await tab.wait_for("Paid.")
    assert page in await tab.text() and await tab.evaluate("document.title") == "Seven-day forecast"


@pytest.mark.parametrize(
    ("kind", "shown"), [("image/png", "naturalWidth === 300"), ("application/pdf", "hidden")]
)
async def test_pictures_are_shown_and_files_can_be_saved(kind: str, shown: str, desk: Desk, tab: Tab) -> None:
    desk.replies = [lambda _: web.Response(body=qr.png("x", 300), content_type=kind)]
    await connected(desk, tab)
    await tab.wait_for("Save the answer")
    await tab.evaluate("document.getElementById('picture').decode().catch(() => 0)")
    assert await tab.evaluate(f"document.getElementById('picture').{shown}")


async def test_everything_can_be_done_with_the_keyboard(desk: Desk, tab: Tab) -> None:
    await tab.open(desk.url + CONNECT)
    await tab.wait_for("Waiting for your wallet")
    await tab.press("Tab")
    await tab.press("Enter")
    await tab.wait_for(desk.made[0]["qr_data"])
    desk.becomes("expired")
    await tab.wait_for("This code has expired")
    await tab.press("Tab")
    await tab.press("Enter")
    await tab.wait_for("Waiting for your wallet")
    assert await tab.evaluate("document.activeElement.id") == "status"


async def test_a_screen_reader_finds_its_way(desk: Desk, tab: Tab) -> None:
    await tab.open(desk.url + PAID)
    await tab.wait_for("Waiting for your wallet")
    await tab.call("Accessibility.enable")
    nodes = (await tab.call("Accessibility.getFullAXTree"))["nodes"]
    found = {
        (node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if "role" in node
    }
    assert found >= {
        ("banner", ""),
        ("main", ""),
        ("contentinfo", ""),
        ("region", "Your code"),
        ("region", "What happens next"),
        ("heading", "Seven-day forecast"),
        ("image", "QR code that connects your CONXA wallet"),
        ("status", ""),
    }

"""Connections from outside: made, drawn, followed, ended. CONXA is asked no more than it has to be."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zxingcpp
from kit.answers import Answer, request
from kit.gateway import Gateway
from kit.ops import assert_problem
from kit.wallets import CONNECTIONS, WalletShop, wallet_config, wallet_shop
from PIL import Image

from gateway.conxa.connections import Mint, is_id

WAITING = 25


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WalletShop]:
    cors = {"cors": {"origins": ["https://shop.example"]}}
    folder = tmp_path_factory.mktemp("desk")
    with wallet_shop(folder, conxa={"timeout": "500ms"}, server=cors) as each:
        yield each
        assert "Traceback" not in each.gateway.logs()


def make(shop: WalletShop, body: bytes, **headers: str) -> Answer:
    return request(shop.url + CONNECTIONS, "POST", body=body, headers=headers)


def follow(made: dict[str, Any], wait: str = "") -> Answer:
    return request(made["status_url"] + (f"?wait={wait}" if wait else ""), timeout=60)


def read(picture: bytes) -> str:
    [found] = zxingcpp.read_barcodes(Image.open(io.BytesIO(picture)).convert("L"))
    return str(found.text)


def test_what_is_made(shop: WalletShop) -> None:
    answer = make(shop, b'{"limit": 50000, "size": 200, "expires_in": 60}')
    made = answer.json()
    assert answer.status == 201 and answer.headers["cache-control"] == "no-store"
    assert answer.headers["location"] == made["status_url"] == f"{shop.url}{CONNECTIONS}/{made['id']}"
    assert json.loads(made["qr_data"]) == {
        "provider_id": "acme",
        "provider_type": "api",
        "provider_username": made["provider_username"],
        "limit": 50000.0,
    }
    assert '"limit":50000.0' in made["qr_data"] and made["id"] not in made["qr_data"]
    assert made["status"] == "pending" and made["page_url"] == shop.url + "/_tollway/conxa/connect"
    assert make(shop, b"").status == 201, "everything has a default"


@pytest.mark.parametrize("size", [200, 333, 1000])
def test_every_picture_says_the_same(size: int, shop: WalletShop) -> None:
    made = shop.connection(size=size, limit=7.5)
    inline = base64.b64decode(made["qr_base64"].removeprefix("data:image/png;base64,"))
    png = request(made["status_url"] + "/qr.png")
    assert png.headers["content-type"] == "image/png" and png.body == inline
    assert Image.open(io.BytesIO(png.body)).size == (size, size)
    assert read(png.body) == made["qr_data"]
    svg = request(made["qr_svg_url"])
    assert svg.headers["content-type"] == "image/svg+xml" and f'width="{size}"'.encode() in svg.body
    assert read(drawn(svg.body)) == made["qr_data"]


def drawn(svg: bytes) -> bytes:
    """The dark modules of our own drawing, painted."""
    text = svg.decode()
    side = int(text.partition('viewBox="0 0 ')[2].partition(" ")[0])
    picture = Image.new("L", (side, side), 255)
    for place in text.partition('<path d="M')[2].partition('"')[0].split("M"):
        x, y = place.removesuffix("h1v1h-1z").split(" ")
        picture.putpixel((int(x), int(y)), 0)
    out = io.BytesIO()
    picture.resize((side * 4, side * 4), Image.Resampling.NEAREST).save(out, "PNG")
    return out.getvalue()


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"{",
        b"null",
        b'{"limit": -1}',
        b'{"limit": "5"}',
        b'{"limit": NaN}',
        b'{"limit": 1e400}',
        b'{"size": 49}',
        b'{"size": 2001}',
        b'{"size": 300.5}',
        b'{"size": true}',
        b'{"expires_in": 9}',
        b'{"expires_in": 86401}',
        b'{"provider_username": "u@e.com"}',
        b"\xff",
    ],
)
def test_a_wrong_order_is_told(body: bytes, shop: WalletShop) -> None:
    assert_problem(make(shop, body), 400, "bad_request")


def test_bodies_are_small(shop: WalletShop) -> None:
    assert_problem(make(shop, b'{"limit": 1' + b" " * 5_000 + b"}"), 413, "body_too_large")


def test_a_code_that_nobody_scanned_in_time_is_gone(shop: WalletShop) -> None:
    """Its id says when; another gateway of the same key is told the same."""
    mint = Mint(shop.conxa.api_key)
    old = mint.make(int(time.time()) - 60, lifetime=30, size=300, limit=None)
    asked, served = shop.called("status"), shop.upstream.count()
    for picture in ("", "/qr.svg", "/qr.png"):
        assert_problem(request(f"{shop.url}{CONNECTIONS}/{old.id}{picture}"), 410, "connection_expired")
    answer = shop.ask(old.id)
    assert (answer.status, answer.json()["code"]) == (402, "wallet_connection_required")
    assert shop.called("status") == asked and shop.upstream.count() == served


def test_a_wallet_that_is_connected_stays_so_when_its_code_has_ended(shop: WalletShop) -> None:
    soon = Mint(shop.conxa.api_key).make(int(time.time()), lifetime=1, size=300, limit=None)
    code = json.dumps({"provider_id": "acme", "provider_type": "api", "provider_username": soon.username})
    shop.conxa.scan(code, shop.conxa.wallet(1_000))
    assert request(f"{shop.url}{CONNECTIONS}/{soon.id}").json()["status"] == "active"
    time.sleep(1.1)
    assert request(f"{shop.url}{CONNECTIONS}/{soon.id}").json()["status"] == "active"
    assert shop.ask(soon.id).status == 200


def test_what_was_not_made_here_is_unknown(tmp_path: Path, shop: WalletShop) -> None:
    """Tampered with, invented, or of a gateway with another key: never asked about at CONXA."""
    made, asked, served = shop.connection(limit=1_000), shop.called("status"), shop.upstream.count()
    id_ = made["id"]
    swapped = {"A": "B"}
    wrong = [
        *(id_[:at] + swapped.get(id_[at], "A") + id_[at + 1 :] for at in (3, 20, 30, 40, 60, len(id_) - 1)),
        *(id_[:-1], id_ + "A", id_ + "=", id_.lower(), "cx_", "x", id_.replace("cx_", "cy_")),
    ]
    for each in wrong:
        assert_problem(request(f"{shop.url}{CONNECTIONS}/{each}"), 404, "no_connection")
        answer = shop.ask(each)
        told = (answer.status, answer.json()["code"])
        assert told == ((402, "wallet_connection_required") if is_id(each) else (400, "malformed_payment"))
    other = wallet_config(shop.upstream.url, shop.conxa, conxa={"api_key": "pk_test_acme_other"})
    with Gateway(other, folder=tmp_path) as gateway:
        assert_problem(request(f"{gateway.url}{CONNECTIONS}/{id_}"), 404, "no_connection")
    assert shop.called("status") == asked and shop.upstream.count() == served


@pytest.mark.parametrize("path", ["", "/", "/nothing", "/connections/", "/connections/a/b/c", "/connect/"])
def test_nothing_else_is_served_here(path: str, shop: WalletShop) -> None:
    assert request(f"{shop.url}/_tollway/conxa{path}").status == 404


def test_methods(shop: WalletShop) -> None:
    made = shop.connection()
    paths = {CONNECTIONS: "POST, OPTIONS", f"{CONNECTIONS}/{made['id']}": "GET, HEAD, OPTIONS"}
    for path, allowed in paths.items():
        answer = request(shop.url + path, "DELETE")
        assert_problem(answer, 405, "method_not_allowed")
        assert answer.headers["allow"] == allowed
    for path in (
        f"{CONNECTIONS}/{made['id']}",
        f"{CONNECTIONS}/{made['id']}/qr.svg",
        "/_tollway/conxa/connect",
    ):
        head, whole = request(shop.url + path, "HEAD"), request(shop.url + path)
        assert (head.status, head.body) == (200, b"")
        assert head.headers["content-length"] == str(len(whole.body))


def test_pages_of_a_shop_may_use_it(shop: WalletShop) -> None:
    ours, foreign = {"Origin": "https://shop.example"}, {"Origin": "https://evil.example"}
    made = make(shop, b"{}", **ours)
    assert made.headers["access-control-allow-origin"] == "https://shop.example"
    status_url = made.json()["status_url"]
    for path in (status_url, status_url + "/qr.svg"):
        allowed = request(path, headers=ours).headers
        assert allowed["access-control-allow-origin"] == "https://shop.example"
        assert "Origin" in allowed["vary"]
        assert "access-control-allow-origin" not in request(path, headers=foreign).headers
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    preflight = request(shop.url + CONNECTIONS, "OPTIONS", headers=ours | asked)
    assert preflight.status == 204 and "POST" in preflight.headers["access-control-allow-methods"]
    assert "Content-Type" in preflight.headers["access-control-allow-headers"]
    refused = request(shop.url + CONNECTIONS, "OPTIONS", headers=foreign | asked)
    assert "access-control-allow-origin" not in refused.headers


def test_pages_of_a_shop_may_read_why_not(shop: WalletShop) -> None:
    ours = {"Origin": "https://shop.example"}
    for answer in (make(shop, b"[]", **ours), request(shop.url + CONNECTIONS + "/x", headers=ours)):
        assert answer.status in (400, 404)
        assert answer.headers["access-control-allow-origin"] == "https://shop.example"


@pytest.mark.parametrize("wait", ["x", "-1s", "5h", "1s&wait=2s", ""])
def test_a_wait_that_is_none_is_told(wait: str, shop: WalletShop) -> None:
    made = shop.connection()
    answer = request(f"{made['status_url']}?wait={wait}")
    assert_problem(answer, 400, "bad_request")


def test_however_many_wait_conxa_is_asked_by_one(shop: WalletShop) -> None:
    made, wallet = shop.connection(), shop.conxa.wallet(700)
    asked, answers = shop.called("status"), []
    waiting = [threading.Thread(target=lambda: answers.append(follow(made, "20s"))) for _ in range(WAITING)]
    for each in waiting:
        each.start()
    time.sleep(2.3)
    assert answers == [] and 1 <= shop.called("status") - asked <= 3
    shop.conxa.scan(made["qr_data"], wallet)
    for each in waiting:
        each.join()
    assert [each.json()["status"] for each in answers] == ["active"] * WAITING
    assert shop.called("status") - asked <= 4


def test_a_wait_ends_in_time(shop: WalletShop) -> None:
    begun = time.monotonic()
    assert follow(shop.connection(), "300ms").json()["status"] == "pending"
    assert 0.25 < time.monotonic() - begun < 2.0


def test_conxa_is_left_alone_when_it_is_asked_too_often(shop: WalletShop) -> None:
    first, second = shop.connection(), shop.connection()
    shop.conxa.fault("status", "rate_limit", retry_after=2)
    asked = shop.called("status")
    busy = follow(first)
    assert_problem(busy, 503, "verification_unavailable")
    assert 1 <= int(busy.headers["retry-after"]) <= 2
    assert follow(second).status == 503 and shop.called("status") == asked + 1, "it holds for all of them"
    shop.conxa.scan(first["qr_data"], shop.conxa.wallet(10))
    assert follow(first, "10s").json()["status"] == "active"


def test_a_connection_that_is_kept_from_asking_for_long_is_given_up(tmp_path: Path) -> None:
    with wallet_shop(tmp_path, conxa={"rate_limit_timeout": "2s"}) as shop:
        made = shop.connection()
        shop.conxa.fault("status", "rate_limit", retry_after=1, probability=1.0)
        answer = follow(made, "20s")
        assert_problem(answer, 410, "connection_expired")
        asked = shop.called("status")
        assert follow(made).status == 410 and shop.called("status") == asked


def test_conxa_that_does_not_answer_is_no_end(shop: WalletShop) -> None:
    made = shop.connection()
    shop.conxa.fault("status", "hang_before")
    assert_problem(follow(made), 503, "verification_unavailable")
    shop.conxa.fault("status", "reset_before")
    shop.conxa.scan(made["qr_data"], shop.conxa.wallet(10))
    assert follow(made, "10s").json()["status"] == "active"


def test_the_operator_sees_whether_conxa_works(shop: WalletShop) -> None:
    told = request(shop.gateway.admin + "/readyz").json()
    assert "conxa" in json.dumps(told)

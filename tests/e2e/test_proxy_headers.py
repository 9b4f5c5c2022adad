"""Header rules in both directions, as a recording upstream and a raw client see them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kit.answers import request
from kit.anvil import Anvil
from kit.deployment import PRICE, Deployment, deployed
from kit.dialogue import Dialogue
from kit.dialogue import request as wire
from kit.upstream import Received
from kit.upstream_answers import ok_bytes, raw

FundedAccount = Callable[..., Any]

NEVER_FORWARDED = {
    "Connection": "keep-alive, X-Mine",
    "Keep-Alive": "timeout=5",
    "X-Mine": "nominated",
    "Proxy-Connection": "keep-alive",
    "Proxy-Authorization": "Basic c2VjcmV0",
    "TE": "trailers",
    "X-Tollway-Connection": "conn-1",
    "X-Provider-Session": "ps_1",
    "SIGN-IN-WITH-X": "x",
    "Payment-Retry": "1",
    "Payment-Identifier": "1",
    "Settlement-Overrides": "{}",
    "PAYMENT-RESPONSE": "Zm9yZ2Vk",
    "X-PAYMENT-RESPONSE": "Zm9yZ2Vk",
    "Access-Control-Expose-Headers": "PAYMENT-RESPONSE",
    "X-HTTP-Method": "DELETE",
    "X-HTTP-Method-Override": "DELETE",
    "X-Method-Override": "DELETE",
    "X-Original-URL": "/admin",
    "X-Original-Host": "evil",
    "X-Rewrite-URL": "/admin",
    "X-Override-URL": "/admin",
    "X-Accel-Redirect": "/admin",
    "Destination": "/admin",
    "Forwarded": "for=1.2.3.4",
    "X-Real-IP": "1.2.3.4",
    "True-Client-IP": "1.2.3.4",
    "X-Forwarded-Prefix": "/evil",
    "X-Forwarded-Port": "1",
    "X_Forwarded_For": "1.2.3.4",
    "x_payment": "AAAA",
    "X-Tollway-Payer": "0xforged",
    "X-Tollway-Anything": "forged",
}
FORWARDED = {
    "Idempotency-Key": "key-1",
    "Authorization": "Bearer mine",
    "Cookie": 'a=1; b="two"; c=3=4; $Version=1',
    "Accept": "text/*;q=0.3, text/html",
    "Range": "bytes=0-5",
    "If-None-Match": 'W/"x"',
    "X-Empty": "",
    "X-Custom": "a,b , c",
    "Origin": "https://a.example",
}


@pytest.fixture(scope="module")
def plain(anvil: Anvil, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with deployed(anvil, tmp_path_factory.mktemp("gateway")) as deployment:
        yield deployment
        assert "Traceback" not in deployment.gateway.logs()


def send(deployment: Deployment, data: bytes) -> int:
    with Dialogue(deployment.url) as client:
        return client.say(data).whole().status


def received(deployment: Deployment, path: str, headers: dict[str, str]) -> Received:
    """What the upstream saw of a GET with these headers sent as they are."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in {"Host": "gw.test", **headers}.items())
    assert send(deployment, f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1")) == 200
    return deployment.upstream.last(path)


@pytest.fixture(params=["free", "paid"])
def seen(
    request: pytest.FixtureRequest, plain: Deployment, funded_account: FundedAccount
) -> Callable[[dict[str, str]], Received]:
    """Sends headers on a free or on a paid route; gives what the upstream got."""
    path = "/free/headers" if request.param == "free" else "/v1/headers"

    def see(headers: dict[str, str]) -> Received:
        payment = plain.sign(path, funded_account()).headers if request.param == "paid" else {}
        return received(plain, path, {**payment, **headers})

    return see


def test_what_could_mislead_the_upstream_stays_here(seen: Callable[[dict[str, str]], Received]) -> None:
    got = seen({name: value for name, value in NEVER_FORWARDED.items() if name != "X-Tollway-Connection"})
    ours = {"x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-tollway-payer"}
    there = {name.lower() for name, _ in got.header_lines}
    assert there & {name.lower() for name in NEVER_FORWARDED} - ours == set()
    assert "payment-signature" not in there and "forged" not in got.raw.decode()


def test_everything_else_passes_byte_for_byte(seen: Callable[[dict[str, str]], Received]) -> None:
    got = seen(FORWARDED)
    assert {name: got.header(name) for name in FORWARDED} == FORWARDED


def test_nothing_is_invented(seen: Callable[[dict[str, str]], Received]) -> None:
    names = {name.lower() for name, _ in seen({}).header_lines if not name.lower().startswith("x-tollway-")}
    assert names == {
        "host",
        "via",
        "x-request-id",
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-host",
    }


def test_what_is_added(seen: Callable[[dict[str, str]], Received], plain: Deployment) -> None:
    got = seen({"X-Forwarded-For": "9.9.9.9", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil"})
    assert got.header("Host") == plain.upstream.url.removeprefix("http://")
    assert got.header("X-Forwarded-For") == "127.0.0.1"
    assert got.header("X-Forwarded-Proto") == "http"
    assert got.header("X-Forwarded-Host") == "gw.test"
    assert (got.header("Via") or "").startswith("1.1 tollway-")
    assert len(got.header("X-Request-Id") or "") >= 16


def test_the_upstream_is_told_of_the_payment(plain: Deployment, funded_account: FundedAccount) -> None:
    payer = funded_account()
    answer = plain.buy("/v1/told", payer)
    got = plain.upstream.last("/v1/told")
    assert answer.headers["x-request-id"] == got.header("X-Request-Id")
    assert got.header("X-Tollway-Amount") == str(PRICE)
    assert (got.header("X-Tollway-Payer") or "").lower() == payer.address.lower()
    assert got.header("X-Tollway-Rail") == "x402" and got.header("X-Tollway-Route") == "* /v1/**"
    assert got.header("X-Tollway-Network") == "eip155:84532"
    assert got.header("X-Tollway-Payment-Id") and got.header("X-Tollway-Asset")


def test_a_free_request_carries_no_payment_fields(plain: Deployment) -> None:
    got = received(plain, "/free/untold", {"PAYMENT-SIGNATURE": "garbage", "X-PAYMENT": "garbage"})
    assert not [
        name for name, _ in got.header_lines if name.lower().startswith(("x-tollway", "payment", "x-payment"))
    ]


def test_vias_and_repeated_fields_are_kept_in_order(plain: Deployment) -> None:
    head = b"GET /free/many HTTP/1.1\r\nHost: h\r\nVia: 1.0 fred\r\nX-A: 1\r\nX-B: 2\r\nX-A: 3\r\n\r\n"
    assert send(plain, head) == 200
    got = plain.upstream.last("/free/many").header_lines
    assert [value for name, value in got if name == "X-A"] == ["1", "3"]
    vias = [value for name, value in got if name == "Via"]
    assert vias[0] == "1.0 fred" and vias[1].startswith("1.1 tollway-")


def test_our_own_via_is_a_loop(plain: Deployment) -> None:
    via = received(plain, "/free/via", {}).header("Via") or ""
    for path in ("/free/via", "/v1/via"):
        with Dialogue(plain.url) as client:
            answer = client.ask("GET", path, Via=f"1.1 other, {via}").whole()
        assert answer.status == 508 and b"loop_detected" in answer.body


UTF8 = "ü€😀".encode()


@pytest.mark.parametrize("path", ["/free/text", "/v1/text"])
def test_utf8_values_arrive_unchanged(path: str, plain: Deployment, funded_account: FundedAccount) -> None:
    payment = plain.sign(path, funded_account()).headers if path.startswith("/v1") else {}
    assert send(plain, wire("GET", path, {**payment, "X-Text": UTF8.decode("latin-1")})) == 200
    assert b"X-Text: " + UTF8 + b"\r\n" in plain.upstream.last(path).raw


@pytest.mark.parametrize("value", [b"caf\xe9", b"\x80\xff", b"ok \xc3", b"\xed\xa0\x80"], ids=repr)
@pytest.mark.parametrize("name", ["X-Text", "Idempotency-Key", "Origin", "User-Agent"])
def test_other_bytes_arrive_unchanged_or_are_refused(
    value: bytes, name: str, plain: Deployment, funded_account: FundedAccount
) -> None:
    """Never silently altered: ``admin\\xff`` must not become ``admin``."""
    for path in ("/free/bytes", "/v1/bytes"):
        plain.upstream.forget()
        payment = plain.sign(path, funded_account()).headers if path.startswith("/v1") else {}
        plain.upstream.forget()
        with Dialogue(plain.url) as client:
            answer = client.say(
                wire("GET", path, {**payment, name.replace("-", "_"): value.decode("latin-1")})
            ).whole()
        if answer.status == 400:
            assert plain.upstream.count() == 0 and b"bad_request" in answer.body
        else:
            assert answer.status == 200 and name.encode() + b": " + value in plain.upstream.last(path).raw


def test_answer_fields_come_back_byte_for_byte(plain: Deployment, funded_account: FundedAccount) -> None:
    fields = (
        b"Set-Cookie: a=1; Path=/\r\nX-Latin: caf\xe9 \xff\r\nSet-Cookie: b=2\r\nX-Empty:\r\nServer: mine\r\n"
    )
    plain.upstream.on("/free/back", raw(b"HTTP/1.1 200 Fine\r\nContent-Length: 2\r\n" + fields + b"\r\nok"))
    plain.upstream.on("/v1/back", raw(b"HTTP/1.1 200 Fine\r\nContent-Length: 2\r\n" + fields + b"\r\nok"))
    for path in ("/free/back", "/v1/back"):
        payment = plain.sign(path, funded_account()).headers if path.startswith("/v1") else {}
        with Dialogue(plain.url) as client:
            head = client.say(wire("GET", path, payment)).whole().head
        assert head.all("Set-Cookie") == ["a=1; Path=/", "b=2"]
        assert head["X-Latin"].encode("latin-1") == b"caf\xe9 \xff"
        assert head["X-Empty"] == "" and head["Server"] == "mine" and head.all("Date")


def test_hop_by_hop_and_forged_fields_of_the_upstream_stay_there(
    plain: Deployment, funded_account: FundedAccount
) -> None:
    forged = [
        ("Connection", "X-Internal, close"),
        ("X-Internal", "1"),
        ("Keep-Alive", "timeout=9"),
        ("Proxy-Authenticate", "Basic"),
        ("Trailer", "X-T"),
        ("Upgrade", "h2c"),
        ("PAYMENT-REQUIRED", "Zm9yZ2Vk"),
        ("PAYMENT-RESPONSE", "Zm9yZ2Vk"),
        ("X-PAYMENT-RESPONSE", "Zm9yZ2Vk"),
        ("Settlement-Overrides", "{}"),
    ]
    names = {name.lower() for name, _ in forged}
    for path in ("/free/forged", "/v1/forged"):
        plain.upstream.on(path, ok_bytes(b"ok", headers=forged))
    with Dialogue(plain.url) as client:
        head = client.ask("GET", "/free/forged").whole().head
        assert not {name.lower() for name, _ in head.lines} & names
    bought = plain.buy("/v1/forged", funded_account())
    assert set(bought.headers) & names == {"payment-response"}
    assert bought.receipt is not None and bought.receipt["success"] is True


def test_configured_fields_win_over_the_clients(
    single_with: Callable[..., Deployment], funded_account: FundedAccount
) -> None:
    with_key = {"headers": {"Authorization": "Bearer configured", "x-custom": "ours"}}
    deployment = single_with(upstreams={"api": {"url": "http://127.0.0.1:9", **with_key}})
    point_at_upstream(deployment, **with_key)
    mine = {"authorization": "Bearer mine", "X-Custom": "mine"}
    for path in ("/free/x", "/v1/x"):
        payment = deployment.sign(path, funded_account()).headers if path.startswith("/v1") else {}
        assert request(deployment.url + path, headers={**mine, **payment}).status == 200
        got = deployment.upstream.last(path)
        assert (got.header("Authorization"), got.header("X-Custom")) == ("Bearer configured", "ours")


def test_the_host_can_be_preserved(single_with: Callable[..., Deployment]) -> None:
    deployment = single_with(upstreams={"api": {"url": "http://127.0.0.1:9"}})
    point_at_upstream(deployment, host="preserve")
    got = received(deployment, "/free/host", {"Host": "Shop.example:8080"})
    assert got.header("Host") == "Shop.example:8080" == got.header("X-Forwarded-Host")


@pytest.mark.parametrize(
    ("chain", "sent"),
    [
        ({}, "127.0.0.1"),
        ({"X-Forwarded-For": "203.0.113.7"}, "203.0.113.7, 127.0.0.1"),
        (
            {"X-Forwarded-For": "spoofed, 203.0.113.7 ,127.0.0.2"},
            "spoofed, 203.0.113.7, 127.0.0.2, 127.0.0.1",
        ),
    ],
    ids=["none", "one", "many"],
)
def test_a_trusted_proxy_is_believed(
    chain: dict[str, str], sent: str, single_with: Callable[..., Deployment]
) -> None:
    deployment = single_with(server={"trusted_proxies": ["127.0.0.0/8"]})
    got = received(
        deployment, "/free/chain", {**chain, "X-Forwarded-Proto": "https", "X-Forwarded-Host": "shop.example"}
    )
    assert got.header("X-Forwarded-For") == sent
    assert got.header("X-Forwarded-Proto") == "https"
    assert got.header("X-Forwarded-Host") == "shop.example"
    assert got.header("Forwarded") is None


def point_at_upstream(deployment: Deployment, **settings: Any) -> None:
    """Configures the upstream anew, whose port was not known before."""
    import yaml

    config = yaml.safe_load(Path(deployment.gateway.config_file).read_text())
    config["upstreams"] = {"api": {"url": deployment.upstream.url, **settings}}
    deployment.gateway.write(config)
    deployment.gateway.stop()
    deployment.gateway.start()

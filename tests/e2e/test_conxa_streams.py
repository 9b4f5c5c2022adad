"""Metered answers through a whole gateway: whatever comes, the client's bytes are the upstream's, and the
charge is what they say was used."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

import brotli
import pytest
from kit import corpus
from kit.answers import Answer, request
from kit.dialogue import Dialogue
from kit.ops import eventually, ledger
from kit.upstream import Behaviour, Exchange
from kit.upstream_answers import die_in_mid_body, events, ok_bytes, reset
from kit.wallets import CHAT, WalletShop, wallet_shop

EVENTS = "text/event-stream; charset=utf-8"
KINDS = ("openai", "anthropic", "gemini")
ROWS = corpus.rows("metering")
STREAM: dict[str, Any] = {"model": "gpt-4o", "stream": True, "messages": [{"role": "user", "content": "Hi!"}]}
STREAMED = json.dumps(STREAM).encode()
SAID = [
    b'data: {"model":"gpt-4o","choices":[{"index":0,"delta":{"content":"Good morning"}}],"usage":null}\n\n',
    b'data: {"model":"gpt-4o","choices":[{"index":0,"delta":{"content":" to you."}}],"usage":null}\n\n',
]
USED = b'data: {"model":"gpt-4o","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":6}}\n\n'
DONE = b"data: [DONE]\n\n"
EXACT = ("gpt-4o", 9, 6)
ESTIMATED = ("gpt-4o", 2, 5)
"""7 characters in, 20 out: a token for every four, rounded up."""
PACKED = {
    "plain": ("", bytes),
    "gzip": ("gzip", lambda data: gzip.compress(data, mtime=0)),
    "br": ("br", lambda data: brotli.compress(data, quality=3)),
}


def routes() -> list[dict[str, Any]]:
    """Each meter at each moment, and OpenAI's once more with the opt-in."""
    every = []
    for settle in ("after", "deferred"):
        for kind in KINDS:
            each = {"match": f"POST /{settle}/{kind}/**", "conxa": {"meter": kind}}
            every.append(each | {"settle": settle, "price": "$0.02", "timeout": "5s"})
        asked = {"match": f"POST /{settle}/asked/**", "conxa": {"meter": "openai", "include_usage": True}}
        every.append(asked | {"settle": settle, "price": "$0.02", "timeout": "5s"})
    return every


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WalletShop]:
    caps = {"per_payer": "$100", "total": "$1000"}
    folder = tmp_path_factory.mktemp("streams")
    with wallet_shop(folder, routes=routes(), exposure=caps, store={"max_answer": "16KiB"}) as each:
        yield each
        assert "Traceback" not in each.gateway.logs()


def in_parts(*parts: bytes, until: threading.Event) -> Behaviour:
    """Chunks of events; all but the first wait for the test's word."""

    async def answer(exchange: Exchange) -> bool:
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {EVENTS}\r\nTransfer-Encoding: chunked\r\n\r\n"
        await exchange.send(head.encode())
        for number, part in enumerate((*parts, b"")):
            while number == 1 and not until.is_set():  # noqa: ASYNC110 - the event is the test's thread's
                await asyncio.sleep(0.005)
            await exchange.send(b"%x\r\n%b\r\n" % (len(part), part))
        return True

    return answer


@pytest.mark.parametrize(
    ("settle", "coding"), [("after", "gzip"), ("after", "br"), ("deferred", "plain"), ("deferred", "br")]
)
def test_answers_of_every_vendor_pass_untouched_and_are_charged_exactly(
    settle: str, coding: str, shop: WalletShop
) -> None:
    encoding, pack = PACKED[coding]
    for row in ROWS:
        connection, wallet = shop.connect(1_000_000)
        path, answer = f"/{settle}/{row['kind']}{row['path']}", pack(row["answer"].encode())
        named = [("Content-Encoding", encoding)] if encoding else []
        shop.upstream.on(path, ok_bytes(answer, row["type"], headers=named))

        got = shop.ask(
            connection, path, json.dumps(row["request"]).encode(), Accept_Encoding="gzip, br, zstd"
        )

        assert (got.status, got.body) == (200, answer), row["id"]
        assert got.headers.get("content-encoding", "") == encoding
        used = eventually(partial(shop.charged, wallet))
        assert used == [(row["model"], row["input"], row["output"])], row["id"]
        if settle == "after":
            assert got.headers["x-conxa-tokens"] == f"in={row['input']};out={row['output']}"
            assert ("x-conxa-estimated" in got.headers) is row["estimated"]
        assert shop.upstream.last(path).header("Accept-Encoding") == "gzip, br"


def test_a_client_that_names_no_coding_asks_for_none(shop: WalletShop) -> None:
    connection, _ = shop.connect()
    path = "/after/openai" + CHAT
    shop.upstream.on(path, ok_bytes(b"".join([*SAID, USED, DONE]), EVENTS))
    headers = {"X-Tollway-Connection": connection, "Content-Type": "application/json"}
    with Dialogue(shop.url) as client:
        client.ask("POST", path, STREAMED, **headers)
        assert client.whole("POST").status == 200
    assert shop.upstream.last(path).header("Accept-Encoding") is None


@pytest.mark.parametrize("settle", ["after", "deferred"])
def test_the_opt_in_asks_for_the_usage_and_keeps_it_from_the_client(settle: str, shop: WalletShop) -> None:
    connection, wallet = shop.connect(1_000)
    path = f"/{settle}/asked{CHAT}"
    shop.upstream.on(path, ok_bytes(b"".join([*SAID, USED, DONE]), EVENTS))

    got = shop.ask(connection, path, STREAMED, Accept_Encoding="gzip")

    assert got.body == b"".join([*SAID, DONE])
    assert "x-conxa-estimated" not in got.headers
    assert eventually(lambda: shop.charged(wallet)) == [EXACT]
    asked = shop.upstream.last(path)
    assert json.loads(asked.body) == STREAM | {"stream_options": {"include_usage": True}}
    assert asked.header("Content-Length") == str(len(asked.body))
    assert asked.header("Accept-Encoding") == "identity"


def test_what_the_client_asked_for_itself_is_not_kept_from_it(shop: WalletShop) -> None:
    connection, wallet = shop.connect(1_000)
    path, whole = f"/after/asked{CHAT}", b"".join([*SAID, USED, DONE])
    own = json.dumps(STREAM | {"stream_options": {"include_usage": True}}).encode()
    shop.upstream.on(path, ok_bytes(whole, EVENTS))
    assert shop.ask(connection, path, own).body == whole
    assert shop.upstream.last(path).body == own
    assert shop.charged(wallet) == [EXACT]


def test_the_opt_in_changes_nothing_else(shop: WalletShop) -> None:
    """No stream, or an upstream that answers with no stream."""
    connection, wallet = shop.connect(1_000)
    path, plain = f"/after/asked{CHAT}", {"model": "gpt-4o", "messages": []}
    answer = {"model": "gpt-4o", "choices": [], "usage": {"prompt_tokens": 2, "completion_tokens": 1}}
    body = json.dumps(answer).encode()
    shop.upstream.on(path, ok_bytes(body, "application/json"))
    assert shop.ask(connection, path, json.dumps(plain).encode()).body == body
    assert shop.upstream.last(path).body == json.dumps(plain).encode()
    assert shop.ask(connection, path, STREAMED).body == body
    assert shop.charged(wallet) == [("gpt-4o", 2, 1)] * 2


@pytest.mark.parametrize("settle", ["after", "deferred"])
def test_a_stream_that_says_nothing_of_its_usage_is_estimated(settle: str, shop: WalletShop) -> None:
    connection, wallet = shop.connect(1_000)
    path = f"/{settle}/openai{CHAT}"
    shop.upstream.on(path, ok_bytes(b"".join([*SAID, DONE]), EVENTS))

    got = shop.ask(connection, path, STREAMED)

    assert got.body == b"".join([*SAID, DONE])
    assert eventually(lambda: shop.charged(wallet)) == [ESTIMATED]
    assert shop.upstream.last(path).body == STREAMED
    if settle == "after":
        assert got.headers["x-conxa-estimated"] == "true"


@pytest.mark.parametrize("route", ["openai", "asked"])
def test_a_deferred_stream_passes_as_it_is_made(route: str, shop: WalletShop) -> None:
    connection, wallet = shop.connect(1_000)
    path, word = f"/deferred/{route}{CHAT}", threading.Event()
    shop.upstream.on(path, in_parts(*SAID, USED, DONE, until=word))
    with Dialogue(shop.url) as client:
        client.ask("POST", path, STREAMED, X_Tollway_Connection=connection)
        assert client.head()["Content-Type"] == EVENTS
        assert client.chunk() == SAID[0]
        assert client.silent(0.05) and shop.charged(wallet) == []
        word.set()
        rest = b"".join(iter(client.chunk, b""))
    assert rest == b"".join([SAID[1], *([USED] if route == "openai" else []), DONE])
    assert eventually(lambda: shop.charged(wallet)) == [EXACT]


def test_a_stream_that_is_charged_first_is_held(shop: WalletShop) -> None:
    connection, wallet = shop.connect(1_000)
    path, word = f"/after/openai{CHAT}", threading.Event()
    shop.upstream.on(path, in_parts(*SAID, USED, DONE, until=word))
    with Dialogue(shop.url) as client:
        client.ask("POST", path, STREAMED, X_Tollway_Connection=connection)
        shop.upstream.wait_for(1, path)
        assert client.silent(0.1)
        word.set()
        answer = client.whole("POST")
    assert answer.body == b"".join([*SAID, USED, DONE])
    assert answer.head["X-Conxa-Tokens"] == "in=9;out=6" and shop.charged(wallet) == [EXACT]


def test_who_hangs_up_in_mid_stream_pays_for_all_of_it_and_can_fetch_it(shop: WalletShop) -> None:
    """What is small enough to be kept is read on: the upstream has made it, and it is not lost."""
    connection, wallet = shop.connect(1_000)
    path, word = f"/deferred/openai{CHAT}", threading.Event()
    shop.upstream.on(path, in_parts(*SAID, USED, DONE, until=word))
    headers = {"X-Tollway-Connection": connection, "Idempotency-Key": "left"}
    with Dialogue(shop.url) as client:
        client.ask("POST", path, STREAMED, **headers)
        client.until(SAID[0])
        client.hang_up()
    word.set()
    assert eventually(lambda: shop.charged(wallet)) == [EXACT]
    again = eventually(lambda: served(shop, connection, path, "left"))
    assert again.body == b"".join([*SAID, USED, DONE]) and again.headers["idempotent-replayed"] == "true"
    assert shop.charged(wallet) == [EXACT]


def served(shop: WalletShop, connection: str, path: str, key: str) -> Answer | None:
    answer = shop.ask(connection, path, STREAMED, Idempotency_Key=key)
    return answer if answer.status == 200 else None


def test_who_hangs_up_on_what_is_too_large_to_keep_pays_for_what_was_counted(shop: WalletShop) -> None:
    """It is not read on, and its usage, which comes last, is never seen."""
    connection, wallet = shop.connect(100_000)
    path, said = f"/deferred/openai{CHAT}", "x" * 2_000
    event = json.dumps({"model": "gpt-4o", "choices": [{"index": 0, "delta": {"content": said}}]})
    shop.upstream.on(path, events(*[event] * 80, USED.decode().strip(), pause=0.01))
    with Dialogue(shop.url) as client:
        client.ask("POST", path, STREAMED, X_Tollway_Connection=connection)
        client.until(b"x" * 2_000)
        client.hang_up()
    [(model, came, went)] = eventually(lambda: shop.charged(wallet))
    assert (model, came) == ("gpt-4o", 2) and went % 500 == 0 and 4_000 <= went < 30_000
    assert shop.conxa.balance(wallet) == 100_000 - came - went


@pytest.mark.parametrize("settle", ["after", "deferred"])
@pytest.mark.parametrize("fault", ["short", "reset"])
def test_what_breaks_in_the_middle_is_not_charged(settle: str, fault: str, shop: WalletShop) -> None:
    connection, wallet = shop.connect(1_000)
    path = f"/{settle}/openai{CHAT}"
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {EVENTS}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    begun = head + b"%x\r\n%b\r\n" % (len(SAID[0]), SAID[0])
    shop.upstream.on(path, die_in_mid_body(SAID[0]) if fault == "short" else reset(begun))
    with Dialogue(shop.url) as client:
        client.ask("POST", path, STREAMED, X_Tollway_Connection=connection)
        assert client.head().status == (502 if settle == "after" else 200)
    assert eventually(lambda: ledger(shop.gateway)[0]["state"] == "released")
    assert shop.charged(wallet) == [] and shop.conxa.balance(wallet) == 1_000
    shop.upstream.on(path, ok_bytes(b"".join([*SAID, USED, DONE]), EVENTS))
    assert shop.ask(connection, path, STREAMED).status == 200


def test_the_upstream_learns_who_pays_but_no_secret(shop: WalletShop) -> None:
    connection, _ = shop.connect()
    path = "/after/openai" + CHAT
    shop.upstream.on(path, ok_bytes(b"{}", "application/json"))
    shop.ask(connection, path, STREAMED, X_Provider_Session="ps_mine")
    raw = shop.upstream.last(path).raw
    assert connection.encode() not in raw and b"ps_" not in raw
    assert shop.upstream.last(path).header("X-Tollway-Rail") == "conxa"
    assert request(shop.url + path, "POST", body=STREAMED).status == 402

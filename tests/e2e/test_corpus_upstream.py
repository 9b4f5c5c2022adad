"""Hostile answers, on a free and on a paid route: what is not whole and valid is never settled."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kit.anvil import Anvil
from kit.corpus import rows
from kit.deployment import PRICE, Deployment, deployed
from kit.raw import Reply, converse
from kit.upstream import Behaviour
from kit.upstream_answers import endless, raw

FundedAccount = Callable[..., Any]
ROWS = rows("upstream")
ZIPPED = gzip.compress(b"ok", mtime=0)
BOMB = gzip.compress(b"\0" * (64 << 20), mtime=0)


@pytest.fixture(scope="module")
def behind(anvil: Anvil, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("gateway")
    with deployed(anvil, folder, server={"max_response_body": "4MiB"}) as deployment:
        yield deployment
        assert "Traceback" not in deployment.gateway.logs()


def behaviour(row: dict[str, Any]) -> Behaviour:
    """The row's bytes; the markers stand for what does not fit on a line."""
    text = row["raw"]
    if "<endless>" in text:
        return endless()
    head, _, body = text.partition("\r\n\r\n")
    if "gzip bytes>" in body:
        head = re.sub(r"Content-Length: \d+", f"Content-Length: {len(ZIPPED)}", head)
        return raw(head.encode() + b"\r\n\r\n" + ZIPPED)
    if "1 GiB" in body:
        return raw(head.encode() + b"\r\n\r\n" + BOMB)
    return raw(text.encode("latin-1"))


def get(deployment: Deployment, path: str, **headers: str) -> Reply | None:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    request = f"GET {path} HTTP/1.1\r\nHost: gw.test\r\nConnection: close\r\n{lines}\r\n".encode()
    replies, _ = converse(deployment.url, request, patience=10)
    return replies[0] if replies else None


@pytest.mark.parametrize("row", [row for row in ROWS if "sse" not in row["id"]], ids=lambda row: row["id"])
def test_paid(row: dict[str, Any], behind: Deployment, funded_account: FundedAccount) -> None:
    path = f"/v1/{row['id']}"
    behind.upstream.on(path, behaviour(row))
    payment, earned = behind.sign(path, funded_account()), behind.earned()

    reply = get(behind, path, **payment.headers)

    settled = behind.earned() - earned
    assert reply is not None and behind.upstream.count(path) == 1, "sent once, never again"
    wanted = row["expect"]["settle"]
    if wanted in ("yes", "no"):
        assert settled == (PRICE if wanted == "yes" else 0)
    assert (reply.status < 300) == (settled == PRICE)
    receipts = [name for name in reply.headers if name in ("payment-response", "x-payment-response")]
    assert receipts == (["payment-response"] if settled else [])
    if said := re.match(r"\d{3}", row["expect"]["client"]):
        assert reply.status == int(said[0])


@pytest.mark.parametrize(
    "row", [row for row in ROWS if row["id"] != "up-infinite"], ids=lambda row: row["id"]
)
def test_free(row: dict[str, Any], behind: Deployment) -> None:
    path = f"/free/{row['id']}"
    behind.upstream.on(path, behaviour(row))
    reply = get_streamed(behind, path)
    if not behind.upstream.count(path):
        # Sent on a kept connection that the row before had just closed: 502, since nothing is sent twice.
        reply = get_streamed(behind, path)
    assert behind.upstream.count(path) == 1
    assert reply == b"" or reply.startswith(b"HTTP/1.1 ")
    assert b"Zm9yZ2Vk" not in reply, "a forged receipt stays here"


def get_streamed(deployment: Deployment, path: str) -> bytes:
    """All bytes of an answer, however it is framed."""
    from kit.raw import connect

    with connect(deployment.url) as sock:
        sock.settimeout(10)
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: gw.test\r\nConnection: close\r\n\r\n".encode())
        received = b""
        try:
            while data := sock.recv(1 << 16):
                received += data
        except ConnectionError:
            pass
        return received


def reply_to(deployment: Deployment, row_id: str, path: str, payer: Any) -> Reply:
    row = next(row for row in ROWS if row["id"] == row_id)
    deployment.upstream.on(path, behaviour(row))
    reply = get(deployment, path, **deployment.sign(path, payer).headers)
    assert reply is not None
    return reply


def test_only_our_receipt(behind: Deployment, funded_account: FundedAccount) -> None:
    reply = reply_to(behind, "up-forge-receipt", "/v1/forged", funded_account())
    assert "payment-required" not in reply.headers and "x-payment-response" not in reply.headers
    assert reply.headers["payment-response"] != "Zm9yZ2Vk"


def test_shared_caches_cannot_keep_it(behind: Deployment, funded_account: FundedAccount) -> None:
    reply = reply_to(behind, "up-public-cache", "/v1/cached", funded_account())
    assert "private" in reply.headers["cache-control"] and "public" not in reply.headers["cache-control"]
    assert "cdn-cache-control" not in reply.headers and "surrogate-control" not in reply.headers
    assert "PAYMENT-SIGNATURE" in reply.headers["vary"]


def test_a_cookie_goes_to_this_client_only(behind: Deployment, funded_account: FundedAccount) -> None:
    assert reply_to(behind, "up-cookie", "/v1/cookie", funded_account()).headers["set-cookie"] == "sid=alice"
    get(behind, "/free/next")
    assert behind.upstream.last("/free/next").header("Cookie") is None


@pytest.mark.parametrize(
    ("row_id", "body"), [("up-gzip", ZIPPED), ("up-gzip-bomb", BOMB)], ids=["small", "bomb"]
)
def test_nothing_is_decompressed(
    row_id: str, body: bytes, behind: Deployment, funded_account: FundedAccount
) -> None:
    reply = reply_to(behind, row_id, f"/v1/again-{row_id}", funded_account())
    assert reply.body == body and reply.headers["content-encoding"] == "gzip"


def test_a_redirect_is_passed_on_and_not_followed(behind: Deployment, funded_account: FundedAccount) -> None:
    reply = reply_to(behind, "up-redirect-ssrf", "/v1/away", funded_account())
    assert reply.headers["location"] == "http://169.254.169.254/"


def test_a_broken_stream_has_no_clean_end(behind: Deployment) -> None:
    row = next(row for row in ROWS if row["id"] == "up-sse-die")
    behind.upstream.on("/free/dies", behaviour(row))
    assert not get_streamed(behind, "/free/dies").endswith(b"0\r\n\r\n")

"""``tollway pay``: what it buys, what it sends, and what it refuses to."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kit.command import run
from kit.deployment import PRICE, Deployment
from kit.gateway import plain_config
from kit.ops import tollway, tracebacks
from kit.upstream_answers import chunked, ok_bytes, ok_json, raw, status

FundedAccount = Callable[..., Any]
KEY = "0x" + "11" * 32


def pay(url: str, key: str, *options: str) -> subprocess.CompletedProcess[bytes]:
    return run("pay", url, *options, env={"TOLLWAY_PAY_KEY": key})


@pytest.mark.parametrize("protocol", ["v1", "v2"])
def test_pay_at_a_server_of_one_version(
    protocol: str, single: Deployment, funded_account: FundedAccount
) -> None:
    config = plain_config(
        upstream=single.upstream.url, rpc=single.anvil.url, pay_to=single.pay_to, key=single.sender.key
    )
    config["rails"]["x402"]["protocols"] = [protocol]
    single.gateway.stop()
    single.gateway.write(config)
    single.gateway.start()
    done = pay(single.url + "/v1/x", funded_account().key)
    assert done.returncode == 0 and f"x402 {protocol}" in done.stderr.decode()
    assert single.earned() == PRICE


def test_pay_gives_the_whole_answer(single: Deployment, funded_account: FundedAccount) -> None:
    big, pieces = os.urandom(3 << 20), [os.urandom(50_000) for _ in range(20)]
    single.upstream.on("/v1/big", ok_bytes(big))
    single.upstream.on("/free/pieces", chunked(*pieces))
    assert pay(single.url + "/v1/big", funded_account().key).stdout == big
    assert pay(single.url + "/free/pieces", KEY).stdout == b"".join(pieces)


def test_pay_sends_method_body_and_headers(
    single: Deployment, funded_account: FundedAccount, tmp_path: Path
) -> None:
    (tmp_path / "body").write_bytes(b"from a file")
    key = funded_account().key
    assert pay(single.url + "/v1/a", key, "--data", "text", "--header", "X-A: 1").returncode == 0
    sent = single.upstream.last("/v1/a")
    assert (sent.method, sent.body, sent.header("X-A")) == ("POST", b"text", "1")
    assert (
        pay(single.url + "/v1/b", key, "--method", "PUT", "--data", f"@{tmp_path / 'body'}").returncode == 0
    )
    assert (single.upstream.last("/v1/b").method, single.upstream.last("/v1/b").body) == (
        "PUT",
        b"from a file",
    )


def test_pay_and_an_upstream_that_fails(single: Deployment, funded_account: FundedAccount) -> None:
    single.upstream.on("/v1/broken", status(500))
    done = pay(single.url + "/v1/broken", funded_account().key)
    assert done.returncode == 1 and "500" in done.stderr.decode() and single.earned() == 0


USAGE = {
    "no key": (None, []),
    "a key that is none": ("0x12", []),
    "a key that is no hex": ("x" * 64, []),
    "an amount that is none": (KEY, ["--max-amount", "much"]),
    "no number": (KEY, ["--max-amount", "NaN"]),
    "a header that is none": (KEY, ["--header", "nonsense"]),
    "a file that is not there": (KEY, ["--data", "@/nowhere/at/all"]),
}


@pytest.mark.parametrize("fault", USAGE)
def test_pay_used_wrongly_is_2(fault: str, single: Deployment) -> None:
    key, options = USAGE[fault]
    env = {} if key is None else {"TOLLWAY_PAY_KEY": key}
    done = tollway("pay", single.url + "/v1/x", *options, env=env)
    assert done.returncode == 2 and done.stderr.startswith("tollway: ") and not tracebacks(done.stderr)
    assert key is None or key not in done.stderr


CHALLENGES = {
    "no challenge": ok_json({"pay": "me"}, 402),
    "no JSON": ok_bytes(b"<html>", "text/html", 402),
    "nonsense offers": ok_json({"x402Version": 1, "error": "", "accepts": [{"scheme": "exact"}]}, 402),
    "no offers": ok_json({"x402Version": 1, "error": "", "accepts": []}, 402),
    "a broken header": ok_json({}, 402, headers=(("PAYMENT-REQUIRED", "!!"),)),
    "an address that is none": ok_json(
        {
            "x402Version": 1,
            "error": "",
            "accepts": [
                {
                    "scheme": "exact",
                    "network": "base-sepolia",
                    "maxAmountRequired": "1",
                    "asset": "0x036CbD53842c5426634e7929541eC2318f3dCF7e",
                    "payTo": "0x12",
                    "resource": "http://h/x",
                    "description": "",
                    "mimeType": "",
                    "maxTimeoutSeconds": 60,
                    "extra": {"name": "USDC", "version": "2"},
                }
            ],
        },
        402,
    ),
}


@pytest.mark.parametrize("fault", CHALLENGES)
def test_pay_at_a_server_whose_402_makes_no_sense_is_6(fault: str, upstream: Any) -> None:
    upstream.on("/x", CHALLENGES[fault])
    done = pay(upstream.url + "/x", KEY)
    assert done.returncode == 6 and b"not bought" in done.stderr and not tracebacks(done.stderr.decode())
    assert upstream.count() == 1


@pytest.mark.parametrize(
    "url", ["nonsense", "http://127.0.0.1:9/", "ftp://127.0.0.1/x", "http://", "http://[x"]
)
def test_pay_where_nobody_is_is_4(url: str) -> None:
    done = pay(url, KEY)
    assert done.returncode == 4 and b"unreachable" in done.stderr and not tracebacks(done.stderr.decode())


def test_pay_at_something_that_speaks_no_http_is_4(upstream: Any) -> None:
    upstream.on("/x", raw(b"hello\r\n"))
    done = pay(upstream.url + "/x", KEY)
    assert done.returncode == 4 and not tracebacks(done.stderr.decode())


def test_pay_gets_half_an_answer(upstream: Any) -> None:
    upstream.on("/x", raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"))
    done = pay(upstream.url + "/x", KEY)
    assert done.returncode == 4 and not tracebacks(done.stderr.decode())

"""``tollway demo`` as its users see it."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from kit.answers import request

from gateway.devchain.ports import free_ports


@pytest.fixture
def port() -> int:
    return free_ports(1)[0]


def command(port: int, *more: str) -> list[str]:
    return [sys.executable, "-m", "gateway", "demo", "--port", str(port), *more]


def test_once_buys_and_ends(port: int) -> None:
    """402 with its price, the signature, 200, the transaction, both balances; then exit 0."""
    done = subprocess.run(command(port, "--once"), capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    legs = [
        r"<- 402 Payment Required",
        r" 0\.010* USDC to 0x",
        r"authorization signed by 0x",
        r"<- 200 OK",
        r"receipt: settled, transaction 0x[0-9a-f]{64} on eip155:84532",
        r'\{"city": "lisbon"',
        r"payer +0x\w+ +10\.000000 +9\.990000",
        r"seller +0x\w+ +0\.000000 +0\.010000",
    ]
    assert re.search("(?s)" + ".*".join(legs), done.stdout), done.stdout


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_stays_until_told(port: int, how: signal.Signals, tmp_path: Path) -> None:
    """The URLs it names can be tried; the end takes everything with it."""
    with subprocess.Popen(
        command(port), stdout=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(tmp_path)}
    ) as demo:
        assert demo.stdout is not None
        said = ""
        while "Ctrl-C" not in said:
            line = demo.stdout.readline()
            assert line, said
            said += line
        free, paid, payments = (
            re.search(rf"curl (?:-i )?(http://\S+/{end})", said) for end in ("health", r"oslo", "payments")
        )
        assert free and paid and payments
        assert request(free[1]).json() == {"ok": True}
        assert request(paid[1]).status == 402
        assert len(request(payments[1]).json()["payments"]) == 1
        chain = re.search(r"chain +(http://\S+)", said)
        assert chain
        demo.send_signal(how)
        assert demo.wait(20) == 0
    for url in (free[1], chain[1]):
        with pytest.raises(ConnectionError):
            request(url)
    assert list(tmp_path.iterdir()) == []


def test_taken_port_is_told(port: int) -> None:
    """One line, exit 1, nothing left."""
    import socket

    with socket.create_server(("127.0.0.1", port)):
        started = time.monotonic()
        done = subprocess.run(command(port), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "Address already in use" in done.stderr
    assert "Traceback" not in done.stderr
    assert time.monotonic() - started < 20


# CONXA


def test_once_connects_pays_and_ends(port: int, tmp_path: Path) -> None:
    """402, a connection, its scan, a charged answer, its copy, a stream, the book; then exit 0.

    Without a chain and without Node: PATH holds nothing.
    """
    environ = {**os.environ, "PATH": str(tmp_path), "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        command(port, "--rail", "conxa", "--once"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environ,
    )
    assert (done.returncode, done.stderr) == (0, "")
    legs = [
        r"<- 402 Payment Required",
        r"openai tokens of the answer, paid with X-Tollway-Connection",
        r"cx_\S+\.\.\. is pending",
        r'\{"provider_id":"demo",.*"limit":5000\.0\}',
        r"the scan is simulated",
        r"it is active",
        r"\[X-Tollway-Connection\]  \[Idempotency-Key\]",
        r"X-Conxa-Tokens: in=5;out=17",
        r"the wallet had 10,000 tokens, has 9,978",
        r"Hello! ",
        r"the stored answer, byte for byte; the wallet still has 9,978",
        r"text/event-stream\n  Hello! ",
        r"the wallet had 9,978, has 9,956",
        r"demo-1 +5 +17 +9,978\n +demo-1 +5 +17 +9,956\n\Z",
    ]
    assert re.search("(?s)" + ".*".join(legs), done.stdout), done.stdout
    assert list(tmp_path.iterdir()) == []


@contextmanager
def staying(port: int, folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The demo on a terminal, and what it has said when it begins to wait."""
    ours, theirs = pty.openpty()
    demo = subprocess.Popen(
        command(port, "--rail", "conxa"), stdout=theirs, env={**os.environ, "TMPDIR": str(folder)}
    )
    os.close(theirs)
    said = b""
    try:
        while b"Ctrl-C ends" not in said:
            said += os.read(ours, 65536)
        yield demo, said.decode().replace("\r\n", "\n")
    finally:
        demo.kill()
        demo.wait()
        os.close(ours)


def test_stays_to_be_tried(port: int, tmp_path: Path) -> None:
    """The code is drawn; everything it names works as it stands there; the end takes everything with it."""
    with staying(port, tmp_path) as (demo, said):
        assert said.count("█") > 300
        connect, fortune, scan, wallet, payments = named(said)
        assert b"<!doctype html>" in request(connect).body
        assert request(fortune, headers={"Accept": "text/html"}).status == 402

        made = request(connect.removesuffix("connect") + "connections", "POST").json()
        assert request(scan, "POST", body=b"no code").status == 422
        assert request(scan, "POST", body=made["qr_data"].encode()).json()["wallet_id"] in wallet
        told = request(fortune, headers={"X-Tollway-Connection": made["id"]})
        assert told.json()["fortune"] and told.headers["x-conxa-balance"] == "9931"
        assert request(wallet).json()["tokens"] == 9931

        [question] = re.findall(r"(?s)(curl -i http.*?)\n  in a browser", said)
        asked = subprocess.run(question, shell=True, capture_output=True, text=True, check=True).stdout
        assert "X-Conxa-Balance: 9910" in asked
        assert len(request(payments).json()["payments"]) == 4
        demo.send_signal(signal.SIGINT)
        assert demo.wait(20) == 0
    for url in (fortune, wallet):
        with pytest.raises(ConnectionError):
            request(url)
    assert list(tmp_path.iterdir()) == []


def named(said: str) -> list[str]:
    """The addresses it says can be tried."""
    ends = ("/conxa/connect", "/v1/fortune", "/scan", r"/wallet/\d+", "/payments")
    return [re.findall(rf"http://\S+{end}\b", said)[-1] for end in ends]

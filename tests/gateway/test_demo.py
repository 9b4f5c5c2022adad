"""``tollway demo`` as its users see it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
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

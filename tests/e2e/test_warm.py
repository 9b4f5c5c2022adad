"""A forked gateway is what an executed one is: all other tests rely on it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from kit.answers import request
from kit.command import run, warm
from kit.gateway import Gateway
from kit.ops import eventually, metric
from kit.upstream import Upstream

ROOT = Path(__file__).resolve().parents[2]
WAYS = ("executed", "forked")


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> Iterator[str]:
    """How this test's gateways start."""
    with warm(None) if request.param == "executed" else nullcontext():
        yield request.param


def free(upstream: str = "http://127.0.0.1:9", workers: int = 1) -> dict[str, Any]:
    """Needs no chain."""
    routes = [{"match": "* /**", "price": "free"}]
    return {"server": {"workers": workers}, "upstreams": {"api": {"url": upstream}}, "routes": routes}


def executed(gateway: Gateway) -> bool:
    return b"\0-m\0gateway\0serve\0" in Path(f"/proc/{gateway.pid}/cmdline").read_bytes()


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_a_life(way: str, tmp_path: Path) -> None:
    gateway = Gateway(free(), folder=tmp_path)
    with gateway:
        assert executed(gateway) == (way == "executed")
        [ready] = [line for line in gateway.logs().splitlines() if not line.startswith("{")]
        assert ready.endswith(f"listening on {gateway.url}, admin {gateway.admin}")
        gateway.kill()
        assert gateway.wait() == -signal.SIGKILL
        gateway.start()
        assert os.getsid(gateway.pid) == os.getpgid(gateway.pid) == gateway.pid
        assert gateway.workers() == [gateway.pid]
        with pytest.raises(subprocess.TimeoutExpired):
            gateway.wait(0.05)
        assert gateway.stop() == 0 and gone(gateway.pid)


def test_they_hold_the_same_and_heed_the_same(tmp_path: Path) -> None:
    def held(gateway: Gateway) -> tuple[list[str], list[str]]:
        files = Path(f"/proc/{gateway.pid}/fd").iterdir()
        told = Path(f"/proc/{gateway.pid}/status").read_text().splitlines()
        open_ones = [re.sub(r"\d+", "N", str(each.readlink())) for each in files]
        return sorted(open_ones), [line for line in told if line.startswith("Sig") and "SigQ" not in line]

    gateway = Gateway(free(), folder=tmp_path)
    with gateway:
        forked = held(gateway)
    with warm(None), gateway:
        assert forked == held(gateway)


def test_commands(way: str, tmp_path: Path) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text("routs: []\n")
    wrong, usage = run("check", "-c", str(file)), run("sell")
    assert wrong.returncode == 3 and not wrong.stdout and wrong.stderr.startswith(f"{file}:1:1:".encode())
    assert usage.returncode == 2 and usage.stderr.startswith(b"Usage: python -m gateway [OPTIONS]")


def test_nothing_outlives_a_killed_run(way: str, tmp_path: Path) -> None:
    program = f"""
from pathlib import Path
from kit.command import warm
from kit.gateway import Gateway
from kit.warm import Template
with warm({"None" if way == "executed" else "Template()"}):
    gateway = Gateway({free(workers=2)!r}, folder=Path({str(tmp_path)!r})).start()
    print(gateway.pid, *gateway.workers(), flush=True)
    gateway.wait(None)
"""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    with subprocess.Popen([sys.executable, "-c", program], env=env, stdout=subprocess.PIPE) as killed:
        assert killed.stdout is not None
        started = [int(pid) for pid in killed.stdout.readline().split()]
        killed.kill()
    assert len(started) == 3
    eventually(lambda: all(map(gone, started)))


def test_two_forked_workers_count_together(upstream: Upstream, tmp_path: Path) -> None:
    with Gateway(free(upstream.url, workers=2), folder=tmp_path) as gateway:
        assert not executed(gateway) and len(gateway.workers()) == 2
        assert all(request(gateway.url + "/x").status == 200 for _ in range(20))
        assert metric(gateway, "tollway_requests_total", status="200") == 20


def test_what_is_read_before_any_code_is_never_forked(tmp_path: Path) -> None:
    with Gateway(free(), {"PYTHONHASHSEED": "7"}, tmp_path) as gateway:
        assert executed(gateway)


def test_a_crash_point_is_the_childs_own() -> None:
    done = run("version", env={"TOLLWAY_CRASH": "K99"})
    assert done.returncode == 1 and b"K99 is none of" in done.stderr
    assert run("version").returncode == 0

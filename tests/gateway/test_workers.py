"""The parent of worker processes, with workers that do nothing but what a test needs."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from kit.ops import eventually

from gateway.workers import AddressInUse, bind, shared_metrics

PROGRAM = """
import os, signal, sys, time
from gateway.workers import Supervisor, bind

def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

def steady(number, listening, ready):
    told = []
    signal.signal(signal.SIGTERM, lambda *_: told.append(1))
    say("worker", number, os.getpid())
    ready()
    while not told:
        time.sleep(0.02)
    return 0

def failing(number, listening, ready):
    say("worker", number, os.getpid())
    ready()
    raise RuntimeError("not foreseen")

def deaf(number, listening, ready):
    say("worker", number, os.getpid())
    time.sleep(60)

def unfit(number, listening, ready):
    return 4 if number else steady(number, listening, ready)

run = globals()[sys.argv[1]]
supervisor = Supervisor(
    bind(("127.0.0.1", 0), 2),
    run,
    ready=lambda: say("ready"),
    reload=lambda: say("reload"),
    ended=lambda pid, code: say("ended", pid, code),
)
sys.exit(supervisor.supervise())
"""
Start = Callable[[str], subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """A parent of two workers of one kind; what all of them print goes to ``said``."""
    with ExitStack() as running:

        def begin(kind: str) -> subprocess.Popen[str]:
            out = running.enter_context((tmp_path / "said").open("w"))
            process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, kind], stdout=out, stderr=out, text=True
            )
            running.callback(process.wait)
            running.callback(process.kill)
            return process

        yield begin


@pytest.fixture
def said(tmp_path: Path) -> Callable[[str], list[str]]:
    """Lines that begin so."""
    return lambda word: [
        line for line in (tmp_path / "said").read_text().splitlines() if line.startswith(word)
    ]


Said = Callable[[str], list[str]]


def test_workers_run_until_told_to_stop(start: Start, said: Said) -> None:
    parent = start("steady")
    eventually(lambda: said("ready"))
    assert len(said("worker")) == 2
    parent.send_signal(signal.SIGTERM)
    assert parent.wait(10) == 0 and len(said("ended")) == 2


def test_a_killed_worker_is_told_of_and_replaced(start: Start, said: Said) -> None:
    parent = start("steady")
    eventually(lambda: said("ready"))
    victim = int(said("worker 1")[0].split()[2])
    os.kill(victim, signal.SIGKILL)
    eventually(lambda: len(said("worker 1")) == 2)
    assert said("ended") == [f"ended {victim} -9"] and len(said("worker 0")) == 1 and len(said("ready")) == 1
    parent.send_signal(signal.SIGINT)
    assert parent.wait(10) == 0


def test_a_worker_that_fails_says_why_and_does_not_become_a_parent(start: Start, said: Said) -> None:
    parent = start("failing")
    eventually(lambda: len(said("worker")) >= 4)
    assert len(said("RuntimeError: not foreseen")) >= 2
    parent.send_signal(signal.SIGTERM)
    assert parent.wait(10) in (0, 1)


def test_sigterm_while_a_dead_worker_waits_to_be_replaced(start: Start, said: Said) -> None:
    """The one that is started last must not be forgotten."""
    parent = start("failing")
    eventually(lambda: said("ended"))
    parent.send_signal(signal.SIGTERM)
    assert parent.wait(10) in (0, 1)


def test_sigterm_before_a_worker_can_heed_it_is_no_failure(start: Start, said: Said) -> None:
    parent = start("deaf")
    eventually(lambda: len(said("worker")) == 2)
    parent.send_signal(signal.SIGTERM)
    assert parent.wait(10) == 0


def test_a_worker_that_is_refused_ends_all_with_its_code(start: Start, said: Said) -> None:
    assert start("unfit").wait(10) == 4
    assert len(said("ended")) == 2 and not said("ready")


def test_a_reload_is_told_to_the_parent_first(start: Start, said: Said) -> None:
    parent = start("steady")
    eventually(lambda: said("ready"))
    for worker in said("worker"):
        assert blocks_hup(int(worker.split()[2])), "a reload before the loop runs would be lost, or deadly"
    parent.send_signal(signal.SIGHUP)
    eventually(lambda: said("reload"))
    parent.send_signal(signal.SIGTERM)
    assert parent.wait(10) == 0


def blocks_hup(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    blocked = next(line for line in status.splitlines() if line.startswith("SigBlk")).split()[1]
    return bool(int(blocked, 16) & 1 << signal.SIGHUP - 1)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_all_sockets_are_on_one_port(count: int) -> None:
    sockets = bind(("127.0.0.1", 0), count)
    assert len(sockets) == count and len({each.getsockname() for each in sockets}) == 1
    for each in sockets:
        each.close()


@pytest.mark.parametrize("count", [1, 2])
def test_a_strangers_port_is_not_shared(count: int) -> None:
    with socket.socket() as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        port = stranger.getsockname()[1]
        with pytest.raises(
            AddressInUse, match=f"^cannot listen on 127.0.0.1:{port}: Address already in use$"
        ):
            bind(("127.0.0.1", port), count)


def test_a_host_that_is_none() -> None:
    with pytest.raises(AddressInUse, match=r"cannot listen on nowhere\.invalid:1"):
        bind(("nowhere.invalid", 1), 1)


def test_the_folder_for_shared_metrics_goes_with_its_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "/somebody/elses")
    with shared_metrics(2):
        folder = Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])
        assert folder.is_dir() and folder.name.startswith("tollway-")
    assert not folder.exists()
    with shared_metrics(1):
        assert "PROMETHEUS_MULTIPROC_DIR" not in os.environ

"""Lines that leave in one piece, and metrics that name nobody."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.observe import Metrics, line, say

PROGRAM = """
import logging, sys
from gateway.observe import configure_logs, log, say
configure_logs()
say("tollway listening")
log.info("request", path="/a\\udcff\\n", status=200)
logging.getLogger("library").warning("careful")
logging.getLogger("library").info("chatter")
sys.exit(7)
"""


def run(stdout: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
    )


def test_one_json_line_per_event_and_libraries_apart() -> None:
    done = run(subprocess.PIPE)
    ready, event = done.stdout.splitlines()
    told = json.loads(event)
    assert ready == "tollway listening" and done.stderr == "WARNING library careful\n"
    assert set(told) == {"event", "path", "status", "level", "ts"} and told["status"] == 200


@pytest.mark.parametrize("broken", ["full", "closed"])
def test_a_stdout_that_takes_nothing_stops_nothing(broken: str, tmp_path: Path) -> None:
    if broken == "full":
        with Path("/dev/full").open("w") as full:
            done = run(full)
    else:
        reader, writer = os.pipe()
        os.close(reader)
        done = run(writer)
        os.close(writer)
    assert done.returncode == 7 and done.stderr == "WARNING library careful\n"


async def test_a_line_of_what_happens_with_every_request(capfd: pytest.CaptureFixture[str]) -> None:
    line("request", {"status": 200, "amount": "0"}, at_once=False)
    await asyncio.sleep(0)
    told = json.loads(capfd.readouterr().out)
    assert told.pop("ts").endswith("Z")
    assert told == {"status": 200, "amount": "0", "level": "info", "event": "request"}


async def test_lines_of_one_turn_leave_in_pieces_that_stay_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several processes may write to the same pipe."""
    pieces: list[bytes] = []
    monkeypatch.setattr(os, "write", lambda _, piece: pieces.append(piece))
    for number in range(100):
        line("request", {"number": number, "path": "/" + "x" * 100}, at_once=False)
    assert not pieces
    await asyncio.sleep(0)
    assert len(pieces) < 10 and all(len(piece) <= 4096 and piece.endswith(b"\n") for piece in pieces)
    assert [json.loads(each)["number"] for each in b"".join(pieces).splitlines()] == list(range(100))


async def test_an_event_does_not_overtake_a_request(capfd: pytest.CaptureFixture[str]) -> None:
    line("request", {"status": 200}, at_once=False)
    say("later")
    first, last = capfd.readouterr().out.splitlines()
    assert json.loads(first)["status"] == 200 and last == "later"


def test_no_metric_has_a_label_for_payers() -> None:
    metrics = Metrics("1")
    labels = {
        label
        for metric in vars(metrics).values()
        if hasattr(metric, "_labelnames")
        for label in metric._labelnames
    }
    assert labels == {
        *("route", "method", "status", "upstream", "rail", "state", "reason"),
        *("network", "asset", "url", "result", "direction"),
    }
    assert all(family.name.startswith("tollway_") for family in metrics.registry.collect())

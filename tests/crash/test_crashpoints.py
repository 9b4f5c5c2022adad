"""The named points themselves: at the right arrival, by the right signal, and not at all when off."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from facilitator.crashpoints import POINTS

PASS = "from facilitator.crashpoints import reach\nfor n in range(1, 6):\n reach('K6'); print(n, flush=True)"


def passing(crash: str) -> subprocess.CompletedProcess[str]:
    """A process that comes to K6 five times and counts how often it got further."""
    env = {**os.environ, "TOLLWAY_CRASH": crash}
    return subprocess.run([sys.executable, "-c", PASS], env=env, capture_output=True, text=True, timeout=30)


@pytest.mark.parametrize(
    ("crash", "code", "passed"),
    [
        ("", 0, 5),
        ("K7", 0, 5),
        ("K6", -signal.SIGKILL, 0),
        ("K6:3", -signal.SIGKILL, 2),
        ("K6:2:TERM", -signal.SIGTERM, 1),
        ("K6:9", 0, 5),
    ],
)
def test_a_process_dies_at_the_arrival_it_was_told(crash: str, code: int, passed: int) -> None:
    done = passing(crash)
    assert (done.returncode, len(done.stdout.splitlines())) == (code, passed)


def test_a_point_that_is_none_is_told() -> None:
    done = passing("K12")
    assert done.returncode == 1 and "K12 is none of K0, K1," in done.stderr


def test_there_are_twelve() -> None:
    assert list(POINTS) == [f"K{number}" for number in range(12)]

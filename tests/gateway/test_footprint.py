"""What a process keeps for itself, once it has settled in."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

BODIES = """
import resource
from gateway.footprint import settle_in

def pass_on():
    pieces = [bytes(256_000) for _ in range(16)]
    del pieces
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

settle_in()
for _ in range(5):
    first = pass_on()
for _ in range(10):
    last = pass_on()
print(last - first)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told")
def test_a_large_answer_takes_no_new_pages_after_another() -> None:
    told = subprocess.run([sys.executable, "-c", BODIES], capture_output=True, text=True, check=True)
    assert int(told.stdout) < 100, "of ten times a thousand"


def test_what_was_built_at_the_start_is_not_looked_through_again() -> None:
    script = "import gc\nfrom gateway.footprint import settle_in\nsettle_in()\nprint(gc.get_freeze_count())"
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(told.stdout) > 1000

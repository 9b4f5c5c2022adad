"""Whether a payment is signed as it should be, found out without a chain: CPU microseconds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

from bench.cores import SERVER, pinned
from bench.errors import NotMeasured
from bench.plan import ROOT
from bench.results import Metrics
from bench.session import Session

NAME = "offline"
CASE = "one payment"
_SLOW = {"ECC_BACKEND_CLASS": "eth_keys.backends.NativeECCBackend", "ETH_HASH_BACKEND": "pycryptodome"}
_FAST = {"ECC_BACKEND_CLASS": "eth_keys.backends.CoinCurveECCBackend", "ETH_HASH_BACKEND": "pysha3"}
PEERS = {
    "SDK's hash and verify": ("sdk", _FAST, 2000),
    "eth-account with coincurve and pysha3": ("eth-account", _FAST, 2000),
    "eth-account by itself": ("eth-account", _SLOW, 60),
}
WITH_RECORD = ", and written down to be recorded"
NUMBER = 4000


def run(session: Session) -> None:
    """Measures it."""
    attempts = {
        tree.name + more: partial(_verified, who, _environment(tree.path), NUMBER)
        for tree in session.options.trees
        for more, who in (("", "verify"), (WITH_RECORD, "rail"))
    }
    own = _environment(ROOT)
    for name, (who, env, number) in PEERS.items():
        if session.options.wanted(name):
            attempts[name] = partial(_verified, who, own | env, number)
    session.interleave(CASE, attempts)


def _environment(checkout: Path) -> dict[str, str]:
    return {"PYTHONPATH": f"{checkout}{os.pathsep}{ROOT / 'tests'}"}


def _verified(who: str, env: dict[str, str], number: int) -> Metrics:
    argv = [sys.executable, "-P", "-m", "bench.apps.offline", who, str(number)]
    with pinned(SERVER):
        done = subprocess.run(argv, env={**os.environ, **env}, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NotMeasured(done.stderr)
    told: Metrics = json.loads(done.stdout)
    return told

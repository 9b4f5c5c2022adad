"""An hour, or as long as is asked, of mixed load: whether memory grows (``make soak MINUTES=60``).

Free, unpaid and paid requests by turns, some of them streams that are left in the middle; SQLite, an instant
facilitator, and so many answers stored that the old make room.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from statistics import linear_regression

from bench.connections import opened
from bench.money import Paymaster
from bench.paying import PaidLoad
from bench.peers.tollway import PRICED, tollway
from bench.plan import OWN
from bench.results import Results
from bench.scenarios.paid import instant_config
from bench.session import Session, say
from bench.usage import resident, tree

NAME = "soak"
CASE = "mixed load"
FLAT = 1.0
"""MiB an hour that are no growth."""
COLUMNS = {
    "minutes": "minutes",
    "requests": "requests",
    "first_mib": "at first, MiB",
    "last_mib": "at last, MiB",
    "slope_mib_per_hour": "slope, MiB/h",
}
_ENOUGH = 30.0
"""Minutes below which a slope says nothing: caches still fill."""
_LOAD = 3.0
"""Seconds of each kind in a turn."""
_MIB = 2.0**20
_WARM = 0.2
"""The share of the time that is not counted: caches fill."""


def too_short(measured: Mapping[str, Results]) -> str:
    """Why the slope does not count, where the run was too short for one."""
    minutes = measured[NAME].get(CASE, OWN.name, "minutes") or 0.0
    return "" if minutes >= _ENOUGH else f"not to be judged: {minutes:g} minutes"


def run(session: Session) -> None:
    """Measures it."""
    paymaster = Paymaster(session.folder)
    with session.stub() as stub:
        config = instant_config(stub.url)
        config["store"] = {"max_answers": "32MiB"}
        with tollway(OWN, config) as server:
            [pid] = tree(server.pids[0])
            paid = PaidLoad(session, paymaster, server)
            paid.warm_up()
            end = time.monotonic() + session.options.minutes * 60
            seen: list[tuple[float, float]] = []
            requests = 0
            while time.monotonic() < end:
                requests += session.load(server, "/free/1k", 32, seconds=_LOAD).requests
                requests += session.load(server, PRICED, 32, seconds=_LOAD).requests
                requests += paid.measure(_LOAD).requests
                with opened(server.url, "/free/drip", 100, b"drop"):
                    requests += 100
                seen.append((time.monotonic() / 3600, resident(pid) / _MIB))
                say(f"  {seen[-1][1]:.1f} MiB after {requests:,} requests")
    late = seen[int(len(seen) * _WARM) :]
    slope = linear_regression(*zip(*late, strict=True)).slope if len(late) > 1 else 0.0
    session.results.add(
        CASE,
        "tollway",
        {
            "minutes": session.options.minutes,
            "requests": requests,
            "first_mib": late[0][1],
            "last_mib": late[-1][1],
            "slope_mib_per_hour": slope,
        },
        1,
    )
    session.show(CASE)

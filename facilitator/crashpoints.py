"""Named points in the life of a payment at which a test can kill the process. Free when off.

``TOLLWAY_CRASH=K6`` kills at the first arrival at K6, ``K6:5`` at the fifth in this process,
``K6:5:STOP`` sends SIGSTOP instead of SIGKILL (``TERM`` works, too). Read once, at import.
"""

from __future__ import annotations

import os
import signal

POINTS = {
    "K0": "before the claim",
    "K1": "claimed",
    "K2": "verified",
    "K3": "about to send the request to the upstream",
    "K4": "the answer's header has come",
    "K5": "the answer is complete",
    "K6": "served: answer and settlement entry are recorded",
    "K7": "the settlement is sent",
    "K8": "settled, not recorded",
    "K9": "recorded, not answered",
    "K10": "the answer is half written",
    "K11": "the answer is written",
}


def _plan(text: str) -> tuple[str, int, signal.Signals]:
    point, _, rest = text.partition(":")
    count, _, name = rest.partition(":")
    if point and point not in POINTS:
        raise ValueError(f"TOLLWAY_CRASH: {point} is none of {', '.join(POINTS)}")
    return point, int(count or 1), signal.Signals[f"SIG{name or 'KILL'}"]


_point, _arrivals, _signal = _plan(os.environ.get("TOLLWAY_CRASH", ""))


def reach(point: str) -> None:
    """The life of a payment has come to ``point``."""
    if point == _point:
        _arrive()


def _arrive() -> None:
    global _arrivals
    _arrivals -= 1
    if _arrivals == 0:
        os.kill(os.getpid(), _signal)

"""Tokens of an unmodified upstream's answer, counted while it passes through.

Pure: bytes in, counts out. A request is :func:`prepare`-d where the operator opted in, its answer is fed to
the :func:`meter` it gets, and :func:`estimate_input` says beforehand what a request may cost at least.
What an answer does not say is estimated, and marked so; nothing an upstream sends makes a meter raise.
"""

from gateway.metering.base import KINDS, Meter, Metered, Usage
from gateway.metering.codings import ACCEPTABLE, narrowed
from gateway.metering.request import estimate_input, prepare
from gateway.metering.tee import meter

__all__ = [
    "ACCEPTABLE",
    "KINDS",
    "Meter",
    "Metered",
    "Usage",
    "estimate_input",
    "meter",
    "narrowed",
    "prepare",
]

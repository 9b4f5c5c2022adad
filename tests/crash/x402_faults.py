"""How the chain's endpoint fails for a while, by the name a plan has for it."""

from __future__ import annotations

from collections.abc import Callable

from kit.faultproxy import (
    BAD_GATEWAY,
    TOO_MANY,
    Delay,
    Fault,
    FaultProxy,
    Hang,
    Lie,
    Lose,
    Reset,
    nothing,
)

SEND = "eth_sendRawTransaction"
RECEIPT = "eth_getTransactionReceipt"

Begin = Callable[[FaultProxy], None]


def _with(fault: Fault, *methods: str) -> Begin:
    return lambda proxy: proxy.on(fault, *methods)


RPC_FAULTS: dict[str, Begin] = {
    "refuses": lambda proxy: proxy.refuse(),
    "hangs": _with(Hang()),
    "resets": _with(Reset()),
    "is busy": _with(TOO_MANY),
    "is a bad gateway": _with(BAD_GATEWAY),
    "is slow": _with(Delay(0.4)),
    "sends and does not say so": _with(Lose(), SEND),
    "does not send": _with(Reset(), SEND),
    "shows no receipts": _with(Lie(nothing), RECEIPT),
    "lags": lambda proxy: proxy.lag(2),
}

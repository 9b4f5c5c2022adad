"""Metric names and log events, declared once (INTERFACE section 4).

With several workers, ``PROMETHEUS_MULTIPROC_DIR`` is set before this module is imported and
every process counts into files that the admin listener adds up.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from typing import Literal, TypeVar

import orjson
import structlog
from aiohttp.http_exceptions import HttpProcessingError
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.multiprocess import MultiProcessCollector

from gateway.payment import Payment, State

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_Mode = Literal["livesum", "livemin", "livemax", "livemostrecent"]
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

log = structlog.get_logger()
M = TypeVar("M", bound=MetricWrapperBase)


_WHOLE = 4096
"""Bytes that a pipe takes in one piece (POSIX PIPE_BUF on Linux), however many processes write to it."""
_pending: list[bytes] = []
"""Lines of requests answered in this turn of the event loop."""


def say(line: str) -> None:
    """Write one line to stdout in one piece. A full disk or a closed pipe there must not end a request."""
    flush()
    _write(line.encode("utf-8", "backslashreplace") + b"\n")


def flush() -> None:
    """Write what was put off until the end of this turn."""
    lines = _pending.copy()
    _pending.clear()
    piece = b""
    for line in lines:
        if len(piece) + len(line) > _WHOLE:
            _write(piece)
            piece = b""
        piece += line
    _write(piece)


def _write(piece: bytes) -> None:
    if piece:
        with suppress(OSError):
            os.write(1, piece)


class _Lines:
    """What structlog writes through; every level is the same to it."""

    def __call__(self, *args: object) -> _Lines:
        return self

    def msg(self, line: str) -> None:
        say(line)

    debug = info = warning = error = critical = msg


def configure_logs() -> None:
    """One JSON line per event on stdout; libraries speak from WARNING on, without tracebacks of ours."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=_Lines(),
        cache_logger_on_first_use=True,
    )
    libraries = logging.StreamHandler(sys.stderr)
    libraries.addFilter(_worth_telling)
    logging.basicConfig(
        level=logging.WARNING, handlers=[libraries], format="%(levelname)s %(name)s %(message)s"
    )


def _worth_telling(record: logging.LogRecord) -> bool:
    """Not that a stranger's bytes were no HTTP: they got their 400."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


class Metrics:
    """The gateway's metrics; no label ever names a payer."""

    def __init__(self, version: str) -> None:
        self.registry = CollectorRegistry()
        count, time, gauge = self._counter, self._histogram, self._gauge
        self.requests = count("requests", "Requests answered", "route", "method", "status")
        self.request_seconds = time("request_seconds", "Time to answer", "route")
        self.upstream_seconds = time("upstream_seconds", "Time the upstream took", "upstream")
        self.challenges = count("challenges", "402 without a credential", "route")
        self.payments = count("payments", "Payments that reached a state", "route", "rail", "state")
        self.refusals = count("refusals", "Payments refused", "route", "reason")
        self.verify_seconds = time("verify_seconds", "Time to verify", "rail")
        self.settle_seconds = time("settle_seconds", "Time to settle", "rail")
        self.pending = gauge("settlements_pending", "Requests waiting for a settlement", "livesum")
        self.revenue = count("revenue_atomic", "Settled amounts in atomic units", "route", "network", "asset")
        self.metered = count("metered_tokens", "Tokens charged for", "route", "rail", "direction")
        self.replays = count("replays", "Stored answers served again")
        self.store_up = gauge("store_up", "1 while the store answers", "livemin")
        self.facilitator_up = gauge("facilitator_up", "1 while the RPC answers", "livemin", "url")
        self.supported_age = gauge(
            "facilitator_supported_age_seconds", "Since /supported was last read", "livemax", "url"
        )
        self.signer_balance = gauge(
            "signer_balance_wei", "Gas money of the settlement key", "livemostrecent", "network"
        )
        self.reloads = count("reloads", "Reloads of the configuration", "result")
        gauge("build_info", "The running version", "livemax", "version").labels(version).set(1)

    def _counter(self, name: str, told: str, *labels: str) -> Counter:
        return _quick(Counter(f"tollway_{name}", told, labels, registry=self.registry))

    def _histogram(self, name: str, told: str, *labels: str) -> Histogram:
        return _quick(Histogram(f"tollway_{name}", told, labels, buckets=_SECONDS, registry=self.registry))

    def _gauge(self, name: str, told: str, over_workers: _Mode, *labels: str) -> Gauge:
        return Gauge(f"tollway_{name}", told, labels, registry=self.registry, multiprocess_mode=over_workers)

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count one answered request; ``method`` must be one of few."""
        self.requests.labels(route, method, str(status)).inc()
        self.request_seconds.labels(route).observe(seconds)

    def settled(self, payment: Payment, seconds: float) -> None:
        """Count one settlement's outcome."""
        self.payments.labels(payment.route, payment.rail, payment.state).inc()
        self.settle_seconds.labels(payment.rail).observe(seconds)
        if payment.state is State.SETTLED:
            self.revenue.labels(payment.route, payment.network, payment.asset).inc(payment.amount)

    def exposition(self) -> bytes:
        """All metrics as Prometheus text, added up over the workers."""
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return generate_latest(self.registry)
        together = CollectorRegistry()
        MultiProcessCollector(together)  # type: ignore[no-untyped-call]
        return generate_latest(together)


def _quick(metric: M) -> M:
    """Finding a labelled metric costs more than counting with it, and what labels name is little."""
    metric.labels = cache(metric.labels)  # type: ignore[method-assign]
    return metric


class _Clock:
    """The time as log lines have it: ISO 8601 in UTC, to the microsecond."""

    def __init__(self) -> None:
        self._second = -1
        self._text = ""

    def now(self) -> str:
        """As structlog's TimeStamper writes it, which formats all of it every time."""
        microseconds = time.time_ns() // 1000
        second, rest = divmod(microseconds, 1_000_000)
        if second != self._second:
            self._second, self._text = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._text}.{rest:06d}Z"


_clock = _Clock()


def line(event: str, members: Mapping[str, object], *, at_once: bool) -> None:
    """One line of what happens with every request.

    Written past structlog's processors, which cost as much as answering does; unless ``at_once`` (before
    the answer leaves) together with the other lines of this turn of the event loop.
    """
    told = {**members, "level": "info", "ts": _clock.now(), "event": event}
    if not (_pending or at_once):
        asyncio.get_running_loop().call_soon(flush)
    _pending.append(orjson.dumps(told, option=orjson.OPT_APPEND_NEWLINE))
    if at_once:
        flush()

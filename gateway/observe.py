"""Metric names and log events, declared once (INTERFACE section 4).

With several workers, ``PROMETHEUS_MULTIPROC_DIR`` is set before this module is imported and
every process counts into files that the admin listener adds up.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from gateway.payment import Payment, State

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

log = structlog.get_logger()


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
        logger_factory=structlog.PrintLoggerFactory(sys.stdout),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")


class Metrics:
    """The gateway's metrics; no label ever names a payer."""

    def __init__(self, version: str) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter(
            "tollway_requests", "Requests answered", ["route", "method", "status"], registry=registry
        )
        self.request_seconds = Histogram(
            "tollway_request_seconds", "Time to answer", ["route"], buckets=_SECONDS, registry=registry
        )
        self.upstream_seconds = Histogram(
            "tollway_upstream_seconds",
            "Time the upstream took",
            ["upstream"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.challenges = Counter(
            "tollway_challenges", "402 without a credential", ["route"], registry=registry
        )
        self.payments = Counter(
            "tollway_payments", "Payments that reached a state", ["route", "rail", "state"], registry=registry
        )
        self.refusals = Counter(
            "tollway_refusals", "Payments refused", ["route", "reason"], registry=registry
        )
        self.verify_seconds = Histogram(
            "tollway_verify_seconds", "Time to verify", ["rail"], buckets=_SECONDS, registry=registry
        )
        self.settle_seconds = Histogram(
            "tollway_settle_seconds", "Time to settle", ["rail"], buckets=_SECONDS, registry=registry
        )
        self.pending = Gauge(
            "tollway_settlements_pending",
            "Requests waiting for a settlement",
            multiprocess_mode="livesum",
            registry=registry,
        )
        self.revenue = Counter(
            "tollway_revenue_atomic",
            "Settled amounts in atomic units",
            ["route", "network", "asset"],
            registry=registry,
        )
        self.replays = Counter("tollway_replays", "Stored answers served again", registry=registry)
        self.store_up = Gauge(
            "tollway_store_up", "1 while the store answers", multiprocess_mode="livemin", registry=registry
        )
        self.facilitator_up = Gauge(
            "tollway_facilitator_up",
            "1 while the RPC answers",
            ["url"],
            multiprocess_mode="livemin",
            registry=registry,
        )
        self.signer_balance = Gauge(
            "tollway_signer_balance_wei",
            "Gas money of the settlement key",
            ["network"],
            multiprocess_mode="livemostrecent",
            registry=registry,
        )
        self.reloads = Counter(
            "tollway_reloads", "Reloads of the configuration", ["result"], registry=registry
        )
        build = Gauge(
            "tollway_build_info",
            "The running version",
            ["version"],
            multiprocess_mode="livemax",
            registry=registry,
        )
        build.labels(version).set(1)

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


def request_line(entry: Mapping[str, object]) -> None:
    """The one line every request leaves; the path without its query, never a credential."""
    log.info("request", **{key: value for key, value in entry.items() if value is not None})

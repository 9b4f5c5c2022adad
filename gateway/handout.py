"""The upstream's part of a paid request: its answer held back whole, or passed on as it comes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from facilitator.crashpoints import reach
from gateway.answers import Answer, Written
from gateway.deliveries import Deliveries
from gateway.forward import Fetched, Forwarder, checked_fields
from gateway.headers import Field, values
from gateway.leases import Kept
from gateway.observe import Metrics
from gateway.pricing import Pricing
from gateway.purchase import Purchase
from gateway.rails.base import Measure
from gateway.render import Renderer, paid_fields
from gateway.stream import Broken, Commit, PaidStream, Tee


@dataclass(frozen=True, slots=True)
class Streamed:
    """What became of an answer that was passed on."""

    sent: Answer | Written
    served: bool
    """Whether its end was recorded: it counts as served."""


class Handout:
    """Forwards paid requests."""

    def __init__(
        self,
        *,
        forwarder: Forwarder,
        pricing: Pricing,
        deliveries: Deliveries,
        renderer: Renderer,
        metrics: Metrics,
        max_answer: int,
    ) -> None:
        """``max_answer``: bytes of a passed-on answer that are kept to be stored."""
        self._forwarder = forwarder
        self._pricing = pricing
        self._deliveries = deliveries
        self._renderer = renderer
        self._metrics = metrics
        self._max_answer = max_answer

    async def fetch(self, purchase: Purchase, payment_id: str, measure: Measure) -> Fetched:
        """The whole answer, held back, and measured where it is paid for. UpstreamError: nothing was
        passed on."""
        with _Timed(purchase, self._metrics):
            reach("K3")
            fetched = await self._forwarder.fetch(
                purchase.incoming,
                purchase.route.upstream,
                _asked(purchase, measure),
                self._extra(purchase, payment_id, measure),
                self._timeout(purchase),
                purchase.hold,
            )
        reach("K5")
        if fetched.status not in purchase.route.success:
            return fetched
        measure.begin(*_content(fetched.fields))
        body = measure.feed(fetched.body) + measure.end()
        return fetched if body is fetched.body else replace(fetched, body=body)

    async def stream(
        self,
        purchase: Purchase,
        kept: Kept,
        receipt: Sequence[Field],
        measure: Measure,
        commit: Commit,
        deadline: float | None,
    ) -> Streamed:
        """Pass an answer inside ``success`` on, and give back any other. Problem: nothing was passed on.

        ``commit`` is called before the last bytes; what it raises breaks the answer off, and so does
        doubt about the lease before that.
        """
        with _Timed(purchase, self._metrics):
            reach("K3")
            payment_id = kept.lease.payment_id
            upstream, extra = purchase.route.upstream, self._extra(purchase, payment_id, measure)
            timeout, body = self._timeout(purchase), _asked(purchase, measure)
            asked = self._forwarder.exchange(purchase.incoming, upstream, body, extra, timeout)
            with await asked as answer:
                reach("K4")
                fields = checked_fields(answer)
                if answer.status not in purchase.route.success:
                    fetched = await self._forwarder.hold_back(answer, fields, purchase.hold)
                    return Streamed(self._renderer.unpaid(fetched), served=False)
                passed_on = self._renderer.paid_head(purchase.incoming, fields, receipt)
                tee = Tee(self._max_answer, purchase.hold)
                measure.begin(*_content(fields))
                stream = PaidStream(
                    purchase.incoming, answer, fields, passed_on, tee, measure, timeout, deadline, kept
                )
                return await self._run(purchase, payment_id, stream, commit)

    async def _run(self, purchase: Purchase, payment_id: str, stream: PaidStream, commit: Commit) -> Streamed:
        try:
            taken = await stream.run(commit)
        except Broken as broken:
            purchase.entry.reason = broken.problem.code
            self._deliveries.left(payment_id)
            return Streamed(Written(stream.status, keep_alive=False), served=False)
        self._deliveries.ended(payment_id, taken and not purchase.client_left)
        return Streamed(Written(stream.status, taken and stream.keep_alive), served=True)

    def _extra(self, purchase: Purchase, payment_id: str, measure: Measure) -> list[Field]:
        told = paid_fields(purchase.credential, payment_id, purchase.route.name)
        return told if measure.codings is None else [*told, (b"Accept-Encoding", measure.codings)]

    def _timeout(self, purchase: Purchase) -> float:
        return self._pricing.timeout(purchase.route)


class _Timed:
    """Counts the time inside as the upstream's."""

    __slots__ = ("_metrics", "_purchase", "_started")

    def __init__(self, purchase: Purchase, metrics: Metrics) -> None:
        self._purchase = purchase
        self._metrics = metrics

    def __enter__(self) -> None:
        self._started = time.monotonic()

    def __exit__(self, *args: object) -> None:
        seconds = time.monotonic() - self._started
        self._purchase.entry.upstream_seconds = seconds
        self._metrics.upstream_seconds.labels(self._purchase.route.upstream).observe(seconds)


def _asked(purchase: Purchase, measure: Measure) -> bytes:
    return purchase.body if measure.body is None else measure.body


def _content(fields: Sequence[Field]) -> tuple[str, str]:
    """Content-Type and Content-Encoding."""
    kinds, codings = values(fields, b"content-type"), values(fields, b"content-encoding")
    return b", ".join(kinds).decode("latin-1"), b", ".join(codings).decode("latin-1")

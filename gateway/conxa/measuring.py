"""Counting what a request uses, as the charge that will be recorded with its answer."""

from __future__ import annotations

from dataclasses import replace

from gateway.conxa.charge import Charge
from gateway.metering import Meter, Metered, Usage, estimate_input, meter, narrowed, prepare
from gateway.rails.base import Measure, Wanted
from policies.route import Metering

UNNAMED = "unknown"
"""The model of an answer that names none, to a request that names none: CONXA says whether it takes it."""


class FlatMeasure(Measure):
    """The same for every request."""

    def __init__(self, charge: Charge) -> None:
        self._charge = charge

    def note(self) -> bytes:
        """The charge."""
        return self._charge.note()


class MeteredMeasure(Measure):
    """What the answer says was used; estimated where it does not."""

    by_part = True

    def __init__(self, request: Metered, codings: bytes | None, session: str, prepaid: int) -> None:
        """``codings`` is the client's Accept-Encoding."""
        self._request = request
        self._session = session
        self._prepaid = prepaid
        self._meter: Meter | None = None
        self.body = prepare(request)
        if self.body is not None:
            self.codings = b"identity"
        elif codings is not None:
            self.codings = narrowed(codings)

    def begin(self, content_type: str, content_encoding: str) -> None:
        """Choose how to read the answer."""
        swallow = self.body is not None
        self._meter = meter(self._request, content_type, content_encoding, swallow=swallow)

    def feed(self, chunk: bytes) -> bytes:
        """Count; what the gateway asked for itself is not passed on."""
        return chunk if self._meter is None else self._meter.feed(chunk)

    def end(self) -> bytes:
        """What was held back to see whether it is the client's."""
        return b"" if self._meter is None else self._meter.end()

    def note(self) -> bytes:
        """The charge for what has passed until now."""
        usage = estimate_input(self._request) if self._meter is None else self._meter.usage()
        return replace(charged(usage, self._session), prepaid=self._prepaid).note()


def charged(usage: Usage, session: str) -> Charge:
    """The charge for a usage."""
    return Charge(usage.model or UNNAMED, usage.input_tokens, usage.output_tokens, usage.estimated, session)


def metered(metering: Metering, wanted: Wanted) -> Metered:
    """The request as its meter reads it."""
    return Metered(metering.kind, wanted.path, wanted.body, metering.model, metering.ask_usage)


def flat(metering: Metering, session: str = "") -> Charge:
    """The charge of a route whose every request uses the same."""
    assert metering.model is not None, "settings require it"
    return Charge(metering.model, metering.input_tokens, metering.output_tokens, session=session)

"""Meters: the client's bytes go on as they are, and a copy of them is read."""

from __future__ import annotations

from functools import cached_property

from gateway.metering.base import Meter, Metered, Usage
from gateway.metering.codings import Decoder, Identity, Unreadable, decoder
from gateway.metering.events import Piece, Splitter
from gateway.metering.readers import Document, Elements, Events, Reader
from gateway.metering.request import STREAMED_ARRAY, estimate_input, usage_only
from gateway.metering.tally import Tally
from gateway.metering.vendors import TALLIES


def meter(request: Metered, content_type: str, content_encoding: str, *, swallow: bool) -> Meter:
    """A meter for the answer with these headers.

    ``swallow``: :func:`prepare` changed the request, so the client must not see the event it did not ask
    for. That takes an uncompressed event stream; any other answer is passed on untouched.
    """
    tally = TALLIES[request.kind](request.path)
    coding = decoder(content_encoding)
    count = _Count(request, tally)
    if content_type.partition(";")[0].strip().lower() == "text/event-stream":
        events = Events(tally)
        if swallow and isinstance(coding, Identity):
            return _Swallowing(count, events)
        return _Tee(count, coding, events)
    if request.kind == "gemini" and request.path.endswith(STREAMED_ARRAY):
        return _Tee(count, coding, Elements(tally))
    return _Tee(count, coding, Document(tally))


class _Count:
    """What the answer says, and what is estimated from the request where it does not."""

    def __init__(self, request: Metered, tally: Tally) -> None:
        self.tally = tally
        self._request = request

    @cached_property
    def _asked(self) -> Usage:
        return estimate_input(self._request)

    def usage(self) -> Usage:
        tally = self.tally
        return Usage(
            model=self._request.model or tally.model or self._asked.model,
            input_tokens=self._asked.input_tokens if tally.input is None else tally.input,
            output_tokens=tally.put_out(),
            estimated=tally.input is None or tally.estimated,
        )


class _Tee:
    def __init__(self, count: _Count, coding: Decoder | None, reader: Reader) -> None:
        self._count = count
        self._coding = coding
        """None: it cannot be read, or no longer."""
        self._reader = reader
        self.usage = count.usage

    def feed(self, chunk: bytes) -> bytes:
        if self._coding is None:
            self._count.tally.heard(len(chunk))
            return chunk
        try:
            for block in self._coding.feed(chunk):
                self._reader.feed(block)
        except Unreadable:
            self._coding = None
            self._count.tally.heard(len(chunk))
        return chunk

    def end(self) -> bytes:
        self._reader.end()
        return b""


class _Swallowing:
    """Passes events on when they are complete, and keeps the one to itself that only the gateway wanted."""

    def __init__(self, count: _Count, events: Events) -> None:
        self._events = events
        self._splitter = Splitter()
        self.usage = count.usage

    def feed(self, chunk: bytes) -> bytes:
        return self._passed(self._splitter.feed(chunk))

    def end(self) -> bytes:
        rest = self._passed(self._splitter.end())
        self._events.end()
        return rest

    def _passed(self, pieces: list[Piece]) -> bytes:
        return b"".join(piece.data for piece in pieces if not usage_only(self._events.take(piece)))

"""A route's ``conxa`` section compiled: what is charged for it."""

from __future__ import annotations

from collections.abc import Callable

from gateway.settings.model import MeteringEntry, RouteEntry
from gateway.settings.problems import Path
from gateway.settings.tree import Rails
from policies.route import Metering

Note = Callable[[Path, str], None]
"""Notes a problem at a place within the route."""


def compile_metering(
    route: RouteEntry, accept: tuple[str, ...], rails: Rails | None, note: Note
) -> Metering | None:
    """How a route's use is counted; None where that has no meaning, or after noting what is wrong.

    ``rails`` is None where that section is broken: then nothing about it is judged.
    """
    if "conxa" in accept:
        if route.conxa is not None:
            return _metering(route, route.conxa, note)
        note(("accept",), "`conxa` needs to know what to charge: set `conxa: {meter: openai}`")
    elif route.conxa is not None and rails is not None:
        without = "rail `conxa` is not configured in `rails`"
        note(("conxa",), without if rails.conxa is None else "this route is not paid by rail `conxa`")
    return None


def _metering(route: RouteEntry, entry: MeteringEntry, note: Note) -> Metering:
    kind = entry.meter or "flat"
    counts = (entry.input_tokens or 0, entry.output_tokens or 0)
    if kind == "flat":
        if entry.model is None or not any(counts):
            note(("conxa",), "needs `meter`, or a `model` with `input_tokens` or `output_tokens`")
    elif any(counts):
        note(("conxa",), f"`meter: {kind}` counts tokens in the answer: it takes no fixed ones")
    if route.settle == "before" and kind != "flat":
        note(("settle",), "`before` takes a charge that is known beforehand: `conxa: {model, input_tokens}`")
    if entry.include_usage and kind != "openai":
        note(("conxa", "include_usage"), "only means something with `meter: openai`")
    return Metering(kind, entry.model, *counts, entry.include_usage)

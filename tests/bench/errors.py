"""What keeps something from being measured, and nothing else from it."""

from __future__ import annotations

from gateway.errors import TollwayError


class NotMeasured(Exception):
    """Something does not run, or does not do what it is measured by; the message says what came instead."""


CANNOT = (NotMeasured, TollwayError)
"""With what finding tools and starting children raise."""


def first_line(error: Exception) -> str:
    """The first and the last line of what an error says."""
    lines = str(error).strip().splitlines()
    return " | ".join([*lines[:1], *lines[1:][-1:]])[:300]

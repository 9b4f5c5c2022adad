"""What can become of an exchange that is no whole, valid answer."""

from __future__ import annotations


class HttpError(Exception):
    """No whole, valid answer."""


class Unreachable(HttpError):
    """No connection came about: the request was not sent."""


class Unsendable(HttpError):
    """The request cannot be written as one message: control bytes, or a name that is none."""


class TimedOut(HttpError):
    """The origin was silent, or its answer not whole, for too long."""


class Invalid(HttpError):
    """What came is no answer, or not all of one."""


class TooLarge(HttpError):
    """More came than was to be read."""


class Closed(Invalid):
    """The connection ended before a byte of the answer; the request may have been heard."""

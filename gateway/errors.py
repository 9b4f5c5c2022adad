"""Errors, drawn as a tree by whose fault they are, and the one place that renders them.

TollwayError
├── ConfigError                 the operator's file: located messages, exit code 3
├── StoreUnfit                  a store that may lose what was promised: refused at start, exit code 4
└── Problem                     ends one request: rendered as application/problem+json (RFC 9457)
    ├── ClientError             4xx: the request's own fault
    ├── UpstreamError           502 or 504: the upstream's fault
    └── Unavailable             503 with Retry-After: ours, or a dependency's
        └── StoreUnavailable    raised by both stores

A refused payment is not an error but a value (``gateway.rails.base.Refusal``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import orjson


class TollwayError(Exception):
    """Everything this project raises on purpose."""


class ConfigError(TollwayError):
    """A configuration that must not start; ``problems`` are complete located lines."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class StoreUnfit(TollwayError):
    """The store works but may lose money records; the message says what to set."""


class Problem(TollwayError):
    """Ends one request with a status and a stable ``code``."""

    status = 500
    retry_after: int | None = None

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        status: int | None = None,
        headers: Sequence[tuple[str, str]] = (),
        close: bool = False,
    ) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.status = status or self.status
        self.headers = tuple(headers)
        self.close = close
        """Whether the connection cannot be used for another request."""

    def body(self, request_id: str, members: Mapping[str, Any] | None = None) -> bytes:
        """The RFC 9457 object, with extension ``members``; never a stack trace, path or secret."""
        return orjson.dumps(
            {
                "type": f"urn:tollway:problem:{self.code}",
                "title": HTTPStatus(self.status).phrase,
                "status": self.status,
                "code": self.code,
                "detail": self.detail,
                "request_id": request_id,
                **(members or {}),
            }
        )


class ClientError(Problem):
    """The request itself is at fault."""

    status = 400


class UpstreamError(Problem):
    """The upstream did not give a whole, valid answer."""

    status = 502


class Unavailable(Problem):
    """Nobody's request can be served right now; the same request may be sent again.

    ``retry_after`` in seconds.
    """

    status = 503

    def __init__(self, code: str, detail: str, *, retry_after: int = 1) -> None:
        super().__init__(code, detail)
        self.retry_after = retry_after


class StoreUnavailable(Unavailable):
    """The store did not acknowledge within its deadline."""

    def __init__(self, detail: str = "the payment store does not answer; try again") -> None:
        super().__init__("store_unavailable", detail)

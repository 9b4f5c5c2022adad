"""What a scan makes: a session between one provider's user and one wallet."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gateway.devconxa.orders import unprocessable
from gateway.devconxa.replies import Declined

Action = Literal["expire", "revoke", "restore", "pend"]
"""What can befall it: its end, the user takes the charge right back, all is well again, not yet approved."""


class Scanned(BaseModel):
    """What a QR code holds."""

    model_config = ConfigDict(strict=True, frozen=True)

    provider_id: Annotated[str, Field(pattern=r"\S")]
    provider_type: Literal["api", "web"]
    provider_username: Annotated[str, Field(pattern=r"\S")]
    limit: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None

    @property
    def cap(self) -> int | None:
        """The most that may be charged, in whole wallet tokens."""
        return None if self.limit is None else math.floor(self.limit)


def scanned(qr_data: str) -> Scanned:
    """Reads a QR code's text; Declined with 422 if it is not CONXA's."""
    try:
        return Scanned.model_validate_json(qr_data)
    except ValidationError as invalid:
        raise Declined(unprocessable(invalid)) from None


@dataclass(slots=True)
class Session:
    """``cap`` and ``spent`` in wallet tokens, ``expires_at`` in seconds since 1970."""

    provider: str
    username: str
    wallet: str
    token: str
    expires_at: float
    cap: int | None
    spent: int = 0
    pending: bool = False
    may_charge: bool = True

    @property
    def owner(self) -> tuple[str, str]:
        """Provider and user: each pair has one session."""
        return self.provider, self.username

    def status(self, now: float) -> Literal["pending", "active", "expired"]:
        """What polling it says."""
        if self.pending:
            return "pending"
        return "active" if now < self.expires_at else "expired"

    def told(self, now: float) -> dict[str, Any]:
        """The body of a status answer; token and end are told of an active session only."""
        if self.status(now) != "active":
            return status_body(self.status(now))
        until = datetime.fromtimestamp(self.expires_at, UTC).isoformat().replace("+00:00", "Z")
        return status_body("active", self.token, until)

    def has_room_for(self, cost: int) -> bool:
        """Whether the connection's limit allows that much more."""
        return self.cap is None or self.spent + cost <= self.cap


def status_body(status: str, token: str | None = None, expires_at: str | None = None) -> dict[str, Any]:
    """The three fields of a status answer."""
    return {"status": status, "session_token": token, "expires_at": expires_at}
